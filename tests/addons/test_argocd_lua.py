"""Argo CD's own tests of its resource_customizations, with the folder of docs/gitops among them."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from dev.addons import argocd
from dev.cluster.golang import go, module_tests
from dev.cluster.shell import CommandError, run
from tests.gitops import UPSTREAM


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
    health = yaml.safe_load((UPSTREAM / "health_test.yaml").read_text())["tests"]
    actions = yaml.safe_load((UPSTREAM / "actions" / "action_test.yaml").read_text())
    expected = {f"onnx-operator.dev/OnnxModel/{case['inputPath']}" for case in health}
    expected |= {f"discovery/{case['inputPath']}" for case in actions["discoveryTests"]}
    expected |= {f"actions/{case['action']}/{case['inputPath']}" for case in actions["actionTests"]}
    assert expected <= ran(sources)


def test_argo_cds_own_tests_notice_a_wrong_script(sources):
    script = (
        sources / "resource_customizations" / "onnx-operator.dev" / "OnnxModel" / "actions" / "measure" / "action.lua"
    )
    script.write_text(script.read_text().replace("onnx-operator.dev/measure", "onnx-operator.dev/measures"))
    with pytest.raises(CommandError, match=r"actions/measure/testdata/model\.yaml"):
        ran(sources, "^TestLuaResourceActionsScript$/actions/measure")
