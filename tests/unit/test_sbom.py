"""The bills of materials: valid, whole, the same each time, and of what the Dockerfiles install."""

import importlib.metadata
import json
import platform
import re
import sys

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from locks import METADATA, ROOT, sbom
from locks.closure import entries, environments, graph, known, roots

CHART = ROOT / "charts" / "onnxmodel-operator"


@pytest.mark.parametrize("name", sbom.IMAGES)
def test_a_bill_is_valid_and_lists_the_lock(name, capsys):
    assert sbom.main([name]) == 0
    text = capsys.readouterr().out
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    made = json.loads(text)
    locked = {entry.key: entry.hashes for entry in entries(sbom.IMAGES[name].lock.text())}
    listed = {
        f"{item['name']}=={item['version']}": {
            found["content"] for reference in item["externalReferences"] for found in reference["hashes"]
        }
        for item in made["components"]
    }
    assert len(listed) > 15
    assert len(listed) == len(made["components"])
    assert {key: locked[key] for key in listed} == listed
    left_out = {entry for entry in entries(sbom.IMAGES[name].lock.text()) if entry.key not in listed}
    *_, environment = environments(sbom.PYTHON, "x86_64")
    assert all(entry.marker and not entry.marker.evaluate(environment) for entry in left_out)


@pytest.mark.parametrize("name", sbom.IMAGES)
def test_everything_in_a_bill_is_there_because_something_requires_it(name):
    made = sbom.bill(sbom.IMAGES[name])
    edges = {item["ref"]: item["dependsOn"] for item in made["dependencies"]}
    root = made["metadata"]["component"]["bom-ref"]
    assert edges.keys() == {root, *(item["bom-ref"] for item in made["components"])}
    reached, todo = {root}, [root]
    while todo:
        new = set(edges[todo.pop()]) - reached
        reached |= new
        todo += new
    assert reached == edges.keys()


def test_a_schema_refuses_a_wrong_bill():
    wrong = sbom.bill(sbom.IMAGES["operator"]) | {"components": [{"type": "nothing"}]}
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(wrong)) is not None


def test_a_bill_is_the_same_each_time_and_another_for_another_machine():
    image = sbom.IMAGES["runtime-cpu"]
    assert sbom.bill(image) == sbom.bill(image)
    assert sbom.bill(image)["serialNumber"] != sbom.bill(image, "aarch64")["serialNumber"]


def test_a_machine_that_a_lock_is_not_for_is_refused(capsys):
    with pytest.raises(SystemExit):
        sbom.main(["runtime-gpu", "--machine", "aarch64"])
    assert "locks/runtime-gpu.txt is not for aarch64: choose one of x86_64" in capsys.readouterr().err


def test_the_graph_is_what_the_installed_releases_say():
    """Of this environment: an edge that metadata.json invents or lacks is another one than the installed wheels have."""
    here = next(environments(f"{sys.version_info.major}.{sys.version_info.minor}", platform.machine()))
    image = sbom.IMAGES["operator"].lock
    found = graph(
        entries(image.text()),
        roots(image.source.read_text(), image.extras),
        known(json.loads(METADATA.read_text())),
        here,
        image.glibc,
    )
    names = {name for name in found if name}
    compared = 0
    for name in names:
        said = importlib.metadata.distribution(name).requires or []
        bare = {re.split(r"[\s;<>=!~\[(]", line, maxsplit=1)[0].lower().replace("_", "-") for line in said}
        assert found[name][1] <= bare, name
        compared += len(found[name][1])
    assert compared > 10
    assert {"pydantic", "jinja2", "aiohttp"} <= found[""][1]
    assert "pydantic-core" in found["pydantic"][1]


def test_the_images_are_those_of_the_dockerfiles_and_of_the_chart():
    images = {sbom.bill(image)["metadata"]["component"]["bom-ref"] for image in sbom.IMAGES.values()}
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    told = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    assert images == {item["image"].rpartition("/")[2] for item in told if "onnxmodel" in item["image"]}
    for path, locks in (("operator", {"operator"}), ("runtime-image", {"runtime-cpu", "runtime-gpu"})):
        text = (ROOT / path / "Dockerfile").read_text()
        assert f"ARG BASE_IMAGE=docker.io/library/python:{sbom.PYTHON}-slim\n" in text
        copied = re.findall(r"^COPY (locks/\S+) ", text, re.MULTILINE)
        variants = [copied[0].replace("${VARIANT}", variant) for variant in ("cpu", "gpu")]
        assert set(variants) == {sbom.IMAGES[name].path for name in locks}
