"""The examples on a real API server: it accepts them as they are, and stores what they say."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").rglob("onnxmodel.yaml"))


class _Loader(yaml.SafeLoader):
    """Knows 1e-06 as a number, which PyYAML reads as a string, as YAML 1.1 had it."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^-?[0-9.]+e-?[0-9]+$"), list("-0123456789"))


def names(path: Path) -> str:
    return path.parent.name


@pytest.mark.parametrize("path", EXAMPLES, ids=names)
def test_dry_run_accepts_it(kube, path):
    said = kube.run("apply", "--dry-run=server", "--validate=strict", "-f", str(path))
    assert "created (server dry run)" in said


@pytest.mark.parametrize("path", EXAMPLES, ids=names)
def test_nothing_that_was_written_is_stored_otherwise(kube, path):
    """A GitOps tool that compares the manifest with the stored object sees no difference, and applies nothing again."""
    manifest = yaml.safe_load(path.read_text())
    kube.run("apply", "-f", str(path))
    stored = kube.get("onnxmodel", manifest["metadata"]["name"])
    assert differences(manifest["spec"], stored["spec"]) == []
    assert kube.run("diff", "-f", str(path)) == ""
    assert "unchanged" in kube.run("apply", "-f", str(path))
    assert kube.get("onnxmodel", manifest["metadata"]["name"])["metadata"]["generation"] == 1


@pytest.mark.parametrize("path", EXAMPLES, ids=names)
def test_server_side_apply_again_changes_nothing(kube, path):
    name = yaml.safe_load(path.read_text())["metadata"]["name"]
    words = ["apply", "--server-side", "--field-manager=gitops", "-f", str(path)]
    kube.run(*words)
    kube.run(*words)  # a creation is stored without status; the next write stores the default that readers see
    before = kube.get("onnxmodel", name)["metadata"]["resourceVersion"]
    kube.run(*words)
    assert kube.get("onnxmodel", name)["metadata"]["resourceVersion"] == before


def test_every_state_of_the_argo_cd_cases_could_be_stored(kube):
    """The manifests are real ones: the schema of today accepts their spec and their status."""
    folder = ROOT / "docs/gitops/argocd/resource_customizations/onnx-operator.dev/OnnxModel/testdata"
    for number, path in enumerate(sorted(folder.glob("*.yaml"))):
        model = yaml.load(path.read_text(), Loader=_Loader)
        name = f"case-{number}"
        kube.apply({**model, "metadata": {"name": name}})
        kube.patch("onnxmodel", name, {"status": model["status"]}, subresource="status")
        stored = kube.get("onnxmodel", name)
        assert stored["status"] == model["status"], path.name
        assert differences(model["spec"], stored["spec"]) == [], path.name


def differences(given, stored, path="spec"):
    """Where `stored` lacks or changes what was given; what it has besides are defaults."""
    if isinstance(given, dict) and isinstance(stored, dict):
        found = [differences(value, stored.get(key), f"{path}.{key}") for key, value in given.items()]
        return [item for items in found for item in items]
    return [] if given == stored else [f"{path}: {given!r} is {stored!r}"]
