"""Which Jobs get the resources of settings.jobs and which get the server's: the table, what runs, and what is written."""

import re
from pathlib import Path

import pytest

from onnxmodel_operator.observe.warnings import hint_for
from onnxmodel_runtime.contract.stages import FETCH, STAGES
from tests.builders import SETTINGS, Cluster, body

ROOT = Path(__file__).parents[2]
SERVERS = {spec.name for spec in STAGES.values() if spec.as_server}
OWN = {FETCH, *(spec.name for spec in STAGES.values() if not spec.as_server)}


def test_each_job_has_the_resources_that_the_table_says() -> None:
    cluster = Cluster(body())
    cluster.live()
    jobs = cluster.jobs()
    assert jobs.keys() == set(STAGES)
    for stage, job in jobs.items():
        pod = job["spec"]["template"]["spec"]
        given = SETTINGS.defaults.resources if STAGES[stage].as_server else SETTINGS.jobs.resources
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            assert container["resources"]["limits"] == given.limits, (stage, container["name"])
            assert container["resources"]["requests"] == given.requests, (stage, container["name"])


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("charts/onnxmodel-operator/values.yaml", r"# Resources of (?P<own>.*)\. (?P<server>.*) get the server's"),
        (
            "docs/values.md",
            r"`settings\.jobs\.resources` .*\| Resources of (?P<own>.*)\. (?P<server>.*) get the server's",
        ),
        (
            "docs/troubleshooting.md",
            r"`serving\.resources` \((?P<server>.*), serve\) or `settings\.jobs\.resources` \((?P<own>.*?)\)",
        ),
    ],
)
def test_what_is_documented_names_all_of_them(file: str, sentence: str) -> None:
    found = re.search(sentence, (ROOT / file).read_text(encoding="utf-8"))
    assert found
    assert _names(found["own"]) == OWN
    assert _names(found["server"]) == SERVERS


@pytest.mark.parametrize("message", ["exceeded quota: pods", "maximum cpu usage per Container is 1"])
def test_hints_name_all_of_them(message: str) -> None:
    assert set(re.findall(r"\w+", hint_for(message))) >= OWN


def _names(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower())) - {"and"}
