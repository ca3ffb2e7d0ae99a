"""A transformer from PyTorch through every variant: equal in two pods, verifiable, reported, and served by both runtimes."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from dev.kube import found, until
from onnxmodel_operator import names
from tests import models
from tests.e2e.support import QUICK, RUNTIMES, model

EXAMPLES = Path(__file__).parents[2] / "examples"
VARIANTS = ["original", "fp32", "fused", "fp16", "int8-dynamic", "int8-static", "ort"]


@contextmanager
def artifacts(kube, platform, name):
    """The pod that looks at what lies on a model's volume."""
    pod = yaml.safe_load((EXAMPLES / "artifacts" / "pod.yaml").read_text())
    pod["spec"]["containers"][0]["image"] = platform.images["runtime-cpu"]
    pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = f"{name}-artifacts"
    kube.apply(pod)
    try:
        kube.run("wait", "--for=condition=Ready", "pod/magika-artifacts", "--timeout=90s")
        yield "magika-artifacts"
    finally:
        kube.run("delete", "pod", "magika-artifacts", "--grace-period=0", "--force")


def manifest(name, **spec):
    made = yaml.safe_load((EXAMPLES / "toy" / "onnxmodel.yaml").read_text())
    made["spec"].update({"benchmark": QUICK, **spec})
    return {**made, "metadata": {"name": name}}


@pytest.fixture(scope="module")
def applied(kube, platform):
    """All but what is measured for its speed: it is pods that take the time."""
    platform.upload({f"toy/1/{name}": (EXAMPLES / "toy" / name).read_bytes() for name in ("model.onnx", "golden.npz")})
    parity = {"relative": 0.1, "absolute": 0.1, "cosine": 0.99}
    optimization = {"variants": ["int8-dynamic"], "parity": parity}
    bound = {**QUICK, "constraints": {"throughputPerSecond": 1_000_000_000}}
    twins = (manifest(runtime, serving={"runtime": runtime}) for runtime in RUNTIMES)
    kube.apply(*twins, manifest("tight", optimization=optimization, benchmark=bound))


@pytest.fixture(scope="module")
def twins(kube, applied):
    """The example by each runtime, each with Jobs and a volume of its own."""
    return {
        runtime: until(f"{runtime} is Ready", found(kube, runtime, true="Ready"), seconds=800)["status"]
        for runtime in RUNTIMES
    }


@pytest.fixture(scope="module")
def quantized(kube, applied):
    """Made with one variant, under a bound that nothing holds: it never served. The artifacts' pod mounts its volume."""
    return until("tight is Stalled", found(kube, "tight", true="Stalled"), seconds=800)["status"]


def test_every_variant_is_made_or_says_why_and_is_equal_in_two_pods(twins):
    one, two = ({item["name"]: item for item in status["variants"]} for status in twins.values())
    assert list(one) == VARIANTS
    made = {name: item["sha256"] for name, item in one.items() if "sha256" in item}
    assert {"fp32", "fused", "fp16", "int8-dynamic", "int8-static", "ort"} <= set(made)
    assert made == {name: item["sha256"] for name, item in two.items() if "sha256" in item}
    # What quantization costs, and that it is told: the default tolerance is not for it.
    assert not one["int8-dynamic"]["parity"]["passed"]
    assert one["int8-dynamic"]["reason"].startswith("outside the tolerance: output scores differs by 0.0")
    assert one["int8-static"]["parity"]["cosine"] < 0.9
    assert one["fp16"]["savedPercent"] > 30
    assert one["fp16"]["parity"]["top1"] == 1


def test_the_artifacts_are_verified_and_their_page_read_in_the_servers_pod(kube, platform, twins):
    """Triton's image has no onnxmodel: there the pod of the example verifies."""
    pages, manifests = [], []
    for runtime, status in twins.items():
        target = f"svc/{runtime}"
        if runtime == "triton":
            with artifacts(kube, platform, runtime) as pod:
                assert "match their recorded digests" in kube.run(
                    "exec", pod, "--", "onnxmodel", "verify", "/artifacts"
                )
        else:
            assert "match their recorded digests" in kube.run("exec", target, "--", "onnxmodel", "verify", "/artifacts")
        pages.append(kube.run("exec", target, "--", "cat", status["benchmark"]["report"]))
        manifests.append(kube.run("exec", target, "--", "sh", "-c", "cat /artifacts/optimize/*/manifest.json"))
    assert manifests[0] == manifests[1]
    assert set(json.loads(manifests[0])["data"]) == {".golden.npz"}
    for page in pages:
        assert page.lower().startswith("<!doctype html")
        assert "int8-dynamic" in page
        assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_choice_is_explained(twins):
    for runtime, status in twins.items():
        assert status["serving"]["runtime"] == runtime
        assert status["benchmark"]["reason"].split(" serves: ")[0] in VARIANTS
        assert status["active"]["measured"]["p50Milliseconds"] > 0


def test_what_misses_its_constraints_takes_no_traffic_and_its_report_is_there(kube, platform, quantized):
    assert quantized["lastFailure"]["reason"] == "ConstraintsNotMet"
    assert "the minimum (throughputPerSecond) is 1,000,000,000" in quantized["lastFailure"]["message"]
    assert kube.list("deployments", f"{names.LABEL_MODEL}=tight") == []
    with artifacts(kube, platform, "tight") as pod:
        assert "int8-dynamic" in kube.run("exec", pod, "--", "cat", quantized["benchmark"]["report"])


def test_warn_serves_it_from_the_results_at_hand_and_says_so(kube, quantized):
    jobs = {job["metadata"]["uid"] for job in kube.list("jobs", f"{names.LABEL_MODEL}=tight")}
    kube.patch("onnxmodel", "tight", {"spec": {"benchmark": {"gate": "Warn"}}})
    status = until("tight is Ready", found(kube, "tight", true="Ready"), seconds=600)["status"]
    after = kube.list("jobs", f"{names.LABEL_MODEL}=tight")
    assert {job["metadata"]["labels"][names.LABEL_STAGE] for job in after if job["metadata"]["uid"] not in jobs} == {
        "loadtest",
        "probe",
    }
    (ready,) = (item for item in status["conditions"] if item["type"] == "Ready")
    assert "the minimum (throughputPerSecond) is 1,000,000,000" in ready["message"]


def test_the_variant_that_is_clearly_faster_serves(kube, platform):
    platform.upload({"gelus/model.onnx": models.gelus().SerializeToString()})
    optimization = {"variants": ["fused"], "graphLevel": "None"}
    kube.apply(model("gelus", "s3://models/gelus/model.onnx", optimization=optimization, serving={"runtime": "triton"}))
    status = until("gelus is Ready", found(kube, "gelus", true="Ready"), seconds=800)["status"]
    assert status["active"]["variant"] == "fused"
    assert status["benchmark"]["speedup"] > 1.1
    assert "fused serves: its p50 is " in status["benchmark"]["reason"]
