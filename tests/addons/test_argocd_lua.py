"""Argo CD's own tests with the folder of docs/gitops among its own, and its command line with the patch for argocd-cm."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from dev.addons import argocd
from dev.cluster.golang import go, module_tests
from dev.cluster.shell import CommandError, run
from tests.gitops import GITOPS, UPSTREAM

CONFIG = GITOPS / "argocd" / "argocd-cm.yaml"
HEALTH = yaml.safe_load((UPSTREAM / "health_test.yaml").read_text())["tests"]
ACTIONS = yaml.safe_load((UPSTREAM / "actions" / "action_test.yaml").read_text())


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of Argo CD's module with the folder in its place."""
    copy = tmp_path_factory.mktemp("argo") / "argo-cd"
    shutil.copytree(argocd.sources(), copy, ignore=shutil.ignore_patterns("docs", "ui-test", "manifests"))
    for path in (copy, *copy.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)  # a module's files cannot be written
    # Its own repository has this module in a folder: here it comes as for the program.
    run(go(), "mod", "edit", "-dropreplace=github.com/argoproj/gitops-engine", cwd=copy)
    with (copy / "go.sum").open("a") as sums:
        sums.write((argocd.FOLDER / "go.sum").read_text())
    shutil.copytree(UPSTREAM, copy / "resource_customizations" / "onnx-operator.dev" / "OnnxModel")
    return copy


def ran(sources: Path, pattern: str = "^(TestLuaHealthScript|TestLuaResourceActionsScript)$") -> set[str]:
    """The cases that passed."""
    printed = module_tests(sources, "./util/lua", pattern)
    return set(re.findall(r"--- PASS: \w+/(\S+)", printed))


def test_argo_cds_own_tests_pass(sources):
    expected = {f"onnx-operator.dev/OnnxModel/{case['inputPath']}" for case in HEALTH}
    expected |= {f"discovery/{case['inputPath']}" for case in ACTIONS["discoveryTests"]}
    expected |= {f"actions/{case['action']}/{case['inputPath']}" for case in ACTIONS["actionTests"]}
    assert expected <= ran(sources)


def test_argo_cds_own_tests_notice_a_wrong_script(sources):
    script = (
        sources / "resource_customizations" / "onnx-operator.dev" / "OnnxModel" / "actions" / "measure" / "action.lua"
    )
    script.write_text(script.read_text().replace("onnx-operator.dev/measure", "onnx-operator.dev/measures"))
    with pytest.raises(CommandError, match=r"actions/measure/testdata/model\.yaml"):
        ran(sources, "^TestLuaResourceActionsScript$/actions/measure")


def overridden(*words):
    """What Argo CD makes of a model with the ConfigMap: its scripts have fewer libraries than those that are built in."""
    return argocd.cli("admin", "settings", "resource-overrides", *words, "--argocd-cm-path", CONFIG)


@pytest.mark.parametrize("case", HEALTH, ids=lambda case: case["inputPath"])
def test_the_health_by_the_configmap(case):
    printed = overridden("health", UPSTREAM / case["inputPath"])
    status, message = case["healthStatus"]["status"], case["healthStatus"]["message"]
    if message == "OnnxModel is being deleted":
        message = "Pending deletion"  # for that it asks no script
    assert printed.split("\n")[:2] == [f"STATUS: {status}", f"MESSAGE: {message}"]


@pytest.mark.parametrize("case", ACTIONS["discoveryTests"], ids=lambda case: case["inputPath"])
def test_the_actions_by_the_configmap(case):
    printed = overridden("list-actions", UPSTREAM / "actions" / case["inputPath"])
    listed = dict(line.split() for line in printed.splitlines()[1:])
    assert listed == {action["name"]: str(action["disabled"]).lower() for action in case["result"]}


@pytest.mark.parametrize("case", ACTIONS["actionTests"], ids=lambda case: f"{case['action']} {case['inputPath']}")
def test_what_an_action_of_the_configmap_changes(case):
    """Of what it writes, every line is in the expected model, and none of the expected model is missing."""
    before, after = (
        (UPSTREAM / "actions" / case[path]).read_text().splitlines() for path in ("inputPath", "expectedOutputPath")
    )
    printed = overridden("run-action", UPSTREAM / "actions" / case["inputPath"], case["action"])
    marked = [line.replace('"', "'") for line in printed.splitlines() if line[:2] in ("< ", "> ")]
    gone = [f"< {line}" for line in before if line not in after]
    new = [f"> {line}" for line in after if line not in before]
    assert sorted(marked) == sorted(gone + new)
