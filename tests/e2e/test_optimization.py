"""A transformer from PyTorch through every variant: equal in two pods, verifiable, reported, and served."""

from pathlib import Path

import pytest
import yaml

from onnxmodel_operator import names
from tests.e2e.support import QUICK
from tests.kube import found, until

EXAMPLES = Path(__file__).parents[2] / "examples"
VARIANTS = ["original", "fp32", "fused", "fp16", "int8-dynamic", "int8-static", "ort"]


@pytest.fixture(scope="module")
def twins(kube, platform):
    """The example twice, each with Jobs and a volume of its own."""
    files = {f"toy/1/{name}": (EXAMPLES / "toy" / name).read_bytes() for name in ("model.onnx", "golden.npz")}
    platform.upload(files)
    manifest = yaml.safe_load((EXAMPLES / "toy" / "onnxmodel.yaml").read_text())
    manifest["spec"]["benchmark"] = QUICK
    for name in ("one", "two"):
        kube.apply({**manifest, "metadata": {"name": name}})
    return [
        until(f"{name} is Ready", found(kube, name, true="Ready"), seconds=400)["status"] for name in ("one", "two")
    ]


def test_every_variant_is_made_or_says_why_and_is_equal_in_two_pods(twins):
    one, two = ({item["name"]: item for item in status["variants"]} for status in twins)
    assert list(one) == VARIANTS
    made = {name: item["sha256"] for name, item in one.items() if "sha256" in item}
    assert {"fp32", "fused", "fp16"} <= set(made)
    assert made == {name: item["sha256"] for name, item in two.items() if "sha256" in item}
    assert all(item["reason"] for item in one.values())
    assert one["fp16"]["savedPercent"] > 30
    assert one["fp16"]["parity"]["top1"] == 1


def test_the_artifacts_are_verified_and_their_page_read_in_the_servers_pod(kube, twins):
    pages = []
    for name, status in zip(("one", "two"), twins, strict=True):
        (deployment,) = kube.list("deployments", f"{names.LABEL_MODEL}={name}")
        target = f"deployment/{deployment['metadata']['name']}"
        folder = kube.run("exec", target, "--", "sh", "-c", "ls -d /artifacts/optimize/*").strip()
        kube.run("exec", target, "--", "onnxmodel", "verify", folder)
        pages.append(kube.run("exec", target, "--", "cat", status["benchmark"]["report"]))
        manifests = kube.run("exec", target, "--", "cat", f"{folder}/manifest.json")
        assert "onnxslim" in manifests
    for page in pages:
        assert page.lower().startswith("<!doctype html")
        assert "int8-dynamic" in page
        assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_choice_is_explained(twins):
    for status in twins:
        assert status["benchmark"]["reason"].split(" serves: ")[0] in VARIANTS
        assert status["active"]["measured"]["p50Milliseconds"] > 0
