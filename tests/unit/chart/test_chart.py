"""What the chart says of itself is what it has."""

import re

import yaml

from dev.chart import policies
from dev.chart.schema import CHART, defaults
from onnxmodel_operator.api.crd import crd

ROOT = CHART.parents[1]

CHART_FILE = yaml.safe_load((CHART / "Chart.yaml").read_text())
TOLD = {
    name: yaml.safe_load(CHART_FILE["annotations"][f"artifacthub.io/{name}"])
    for name in ("images", "crds", "crdsExamples")
}


def test_the_images_that_it_names_are_those_of_its_values():
    values, version = defaults(), CHART_FILE["appVersion"]
    used = {
        f"{values['image']['repository']}:{version}",
        *(values["runtimeImages"][name] for name in ("cpu", "gpu", "triton")),
    }
    assert {image["image"] for image in TOLD["images"]} == used


def test_the_kind_and_the_example_that_it_names_are_the_projects_own():
    (named,) = TOLD["crds"]
    manifest = crd()
    assert named["name"] == manifest["metadata"]["name"]
    assert (named["kind"], named["version"]) == (
        manifest["spec"]["names"]["kind"],
        manifest["spec"]["versions"][0]["name"],
    )
    assert TOLD["crdsExamples"] == [yaml.safe_load((ROOT / "examples" / "minimal" / "onnxmodel.yaml").read_text())]


def test_its_links_lead_to_files_that_there_are():
    links = yaml.safe_load(CHART_FILE["annotations"]["artifacthub.io/links"])
    files = [found[1] for link in links if (found := re.search(r"/blob/main/(.+)$", link["url"]))]
    assert files
    for name in files:
        assert (ROOT / name).is_file()


def test_each_policy_that_is_skipped_has_a_reason():
    assert all(reason.endswith(".") and len(reason) > 40 for reason in policies.SKIPPED.values())
