"""The platform's settings: what is wrong is named."""

import inspect

import pytest
from pydantic import Strict

from onnxmodel_operator.platform import settings
from onnxmodel_operator.platform.settings import Pool, SettingsError, load, parse
from onnxmodel_operator.render.identity import store_identity

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


S3 = {"bucket": "artifacts", "secretRef": {"name": "a"}}
ROLE = "arn:aws:iam::111122223333:role/artifacts-"


@pytest.mark.parametrize(
    ("s3", "message"),
    [
        ({"secretRef": {"name": "a", "namespace": "b"}},
         "secretRef.namespace: unknown field; remove it: it is always the namespace of each model"),
        ({"nodeCache": {"path": "/a", "size": 20}},
         "nodeCache.size: expected a quantity with a unit, such as 512Mi or 20Gi: 20 alone means bytes"),
        ({"nodeCache": {"path": "/a", "size": "20"}}, "nodeCache.size: expected at least 1Mi, such as 20Gi, not 20"),
        ({"nodeCache": {"path": "/a", "size": 20 << 30}}, "nodeCache.size: expected a string; put it in quotes"),
        *(
            ({"secretRef": None, "webIdentity": {"roleArn": f"{ROLE}{name}"}},
             f"webIdentity.roleArn: {name} is not replaced: use $namespace")
            for name in ("$namespaces", "$model", "$")
        ),
    ],
)  # fmt: skip
def test_a_bucket_that_is_written_wrongly_is_answered_with_what_to_write(s3, message):
    with pytest.raises(SettingsError) as caught:
        parse({"images": IMAGES, "artifacts": {"store": "s3", "s3": {**S3, **s3}}})
    assert str(caught.value) == f"artifacts.s3.{message}"


def test_an_underscore_ends_the_name_in_a_role():
    s3 = {"bucket": "artifacts", "webIdentity": {"roleArn": f"{ROLE}$namespace_a"}}
    found = parse({"images": IMAGES, "artifacts": {"store": "s3", "s3": s3}}).artifacts.s3
    identity = found and store_identity("team-a", found)
    assert identity is not None
    assert identity.env[0] == {"name": "AWS_ROLE_ARN", "value": f"{ROLE}team-a_a"}


@pytest.mark.parametrize("query", ["up{a='$revision'}", "up{a='${namespace}'}", "up{a='$namespace_b'}"])
def test_a_name_that_the_query_of_the_autoscaler_does_not_know_is_refused(query):
    with pytest.raises(
        SettingsError, match=r"^autoscaling\.activationQuery: \$.* is not replaced: use \$namespace, \$model"
    ):
        parse(
            {
                "images": IMAGES,
                "autoscaling": {"backend": "KEDA", "activationQuery": query},
                "prometheus": {"address": "http://prometheus"},
            }
        )


def test_other_dollars_of_a_query_have_a_meaning_of_their_own():
    query = "up{a=~'b$',c='$namespace',d='$model'}"
    section = {"backend": "KEDA", "activationQuery": query}
    found = parse({"images": IMAGES, "autoscaling": section, "prometheus": {"address": "http://p"}}).autoscaling
    assert found is not None
    assert found.activation_query == query


@pytest.mark.parametrize("given", ["yes", "true", 1])
def test_a_boolean_is_true_or_false_and_nothing_like_it(given):
    oci = {"repository": "registry.example.com/a", "secretRef": {"name": "a"}, "insecure": given}
    advice = "; remove the quotes" if given == "true" else ""
    with pytest.raises(SettingsError) as caught:
        parse({"images": IMAGES, "artifacts": {"store": "oci", "oci": oci}})
    assert str(caught.value) == f"artifacts.oci.insecure: expected true or false{advice}"


def test_every_boolean_of_the_settings_is_strict():
    sections = {
        kind for _, kind in inspect.getmembers(settings, inspect.isclass) if issubclass(kind, settings._Section)
    }
    found = {
        f"{kind.__name__}.{name}": any(isinstance(each, Strict) for each in field.metadata)
        for kind in sections
        for name, field in kind.model_fields.items()
        if field.annotation is bool
    }
    assert len(found) >= 6
    assert [name for name, is_strict in found.items() if not is_strict] == []


def test_a_misspelt_field_of_a_pool_is_answered_with_the_nearest():
    with pytest.raises(SettingsError, match=r"pools\.gpu\.labls: unknown field; did you mean labels\?"):
        parse({"images": IMAGES, "pools": {"default": {}, "gpu": {"labls": {}}}})


@pytest.mark.parametrize("section", [{}, {"sectionName": ""}, {"sectionName": "web.tls-1"}])
def test_a_gateway(section):
    routes = {"parentRefs": [{"name": "models.edge-1", "namespace": "infra", **section}], "domain": "example.com"}
    parsed = parse({"images": IMAGES, "routes": routes}).routes
    assert parsed is not None
    assert parsed.parent_refs[0].section_name == section.get("sectionName", "")


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_a_registry_without_levels_keeps_no_artifacts(host):
    oci = {"repository": f"{host}/team/artifacts", "secretRef": {"name": "s"}}
    with pytest.raises(SettingsError, match=r"artifacts\.oci\.repository: Docker Hub .* use another registry"):
        parse({"images": IMAGES, "artifacts": {"store": "oci", "oci": oci}})


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
