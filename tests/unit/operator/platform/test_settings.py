"""The platform's settings: what is wrong is named."""

import pytest

from onnxmodel_operator.platform.settings import Pool, SettingsError, load, parse

IMAGES = {"runtimeCpu": "cpu"}
GATEWAY = {"name": "models", "namespace": "infra"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "images"),
        (None, "^expected a mapping$"),
        ({"images": IMAGES, "pool": {}}, "pool"),
        ({"images": IMAGES, "pools": {"gpu": {}}}, "^defaults.pool is 'default', but the pools are gpu"),
        (
            {"images": IMAGES, "pools": {"default": {"executionProviders": ["CUDA"]}}},
            "needs gpuResource .* or resourceClaim",
        ),
        (
            {"images": IMAGES, "pools": {"default": {"gpuResource": "a/b", "resourceClaimTemplateName": "gpu"}}},
            "at most one of gpuResource and resourceClaimTemplateName",
        ),
        ({"images": IMAGES, "pools": {"default": {"executionProviders": ["CPU", "OpenVINO"]}}}, "CPU must be the last"),
        (
            {"images": IMAGES, "pools": {"default": {"executionProviders": ["CUDA"], "gpuResource": "nvidia.com/gpu"}}},
            "images.runtimeGpu is required",
        ),
        ({"images": IMAGES, "jobs": {"backoffLimit": -1}}, "jobs.backoffLimit"),
        (
            {"images": IMAGES, "pools": {"default": {"labels": {"a b": ""}}}},
            "pools.default.labels: key 'a b': expected a key",
        ),
        (
            {"images": IMAGES, "pools": {"default": {"labels": {"onnx-operator.dev/model": "other"}}}},
            "labels: onnx-operator.dev/model belongs to the operator",
        ),
        ({"images": IMAGES, "artifacts": {"size": "huge"}}, "artifacts.size"),
        ({"images": IMAGES, "routes": {"parentRefs": [], "domain": "example.com"}}, "routes.parentRefs"),
        (
            {"images": IMAGES, "routes": {"parentRefs": [{"name": "g"}], "domain": "a"}},
            r"routes.parentRefs\[0\].namespace",
        ),
        *(
            ({"images": IMAGES, "routes": {"parentRefs": [{**GATEWAY, **wrong}], "domain": "a"}}, said)
            for wrong, said in (
                ({"name": "Models"}, r"routes.parentRefs\[0\].name: expected the name of an object"),
                ({"name": "models..edge"}, r"routes.parentRefs\[0\].name: expected"),
                ({"namespace": "infra/edge"}, r"routes.parentRefs\[0\].namespace: expected the name of a namespace"),
                ({"namespace": "infra.edge"}, r"routes.parentRefs\[0\].namespace: expected"),
                ({"sectionName": "web_1"}, r"routes.parentRefs\[0\].sectionName: expected the name of a listener"),
            )
        ),
        (
            {"images": IMAGES, "routes": {"parentRefs": [GATEWAY], "domain": "*.example.com"}},
            "routes.domain: expected a domain such as models.example.com",
        ),
        ({"images": IMAGES, "defaults": {"resources": {"limits": {"cpu": "one"}}}}, "defaults.resources.limits.cpu"),
        (
            {"images": IMAGES, "jobs": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}},
            "the request cpu: 2 exceeds the limit 1",
        ),
    ],
)
def test_refusals(data, message):
    with pytest.raises(SettingsError, match=message):
        parse(data)


@pytest.mark.parametrize("section", [{}, {"sectionName": ""}, {"sectionName": "web.tls-1"}])
def test_a_gateway(section):
    routes = {"parentRefs": [{"name": "models.edge-1", "namespace": "infra", **section}], "domain": "example.com"}
    parsed = parse({"images": IMAGES, "routes": routes}).routes
    assert parsed is not None
    assert parsed.parent_refs[0].section_name == section.get("sectionName", "")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.yaml"):
        load(tmp_path / "nowhere.yaml")


def test_a_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("images: {runtimeCpu: cpu}")
    assert load(path).defaults.pool == "default"


def test_a_copy_with_another_field_has_other_data():
    pool = Pool(node_selector={"a": "b"})
    assert pool.data["node_selector"] == {"a": "b"}
    assert pool.model_copy(update={"node_selector": {"c": "d"}}).data["node_selector"] == {"c": "d"}
    assert pool.model_copy() == pool


def test_settings_that_are_nested_too_deeply_are_refused(tmp_path):
    (tmp_path / "settings.yaml").write_text("[" * 20_000)
    with pytest.raises(SettingsError, match=r"settings\.yaml"):
        load(tmp_path / "settings.yaml")


@pytest.mark.parametrize("start", ["2:00", "24:00", "02:60", "02:00:00", ""])
def test_a_maintenance_window_begins_at_a_time_of_day(start):
    with pytest.raises(SettingsError, match=r"upgrades\.window\.start: expected a time of day such as 02:00"):
        parse({"images": {"runtimeCpu": "i"}, "upgrades": {"window": {"start": start}}})
