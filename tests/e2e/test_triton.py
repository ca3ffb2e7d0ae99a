"""The same model on both runtimes: Ready, the same answers through the Service, and Triton's own words when it cannot load.

In the place of NVIDIA's image the cluster runs the real tritonserver from its wheel (tests/triton/Dockerfile).
"""

import json
from pathlib import Path

import pytest

from onnxmodel_operator import names
from tests import models
from tests.e2e.support import MAGIKA, model
from tests.kube import found, is_true, until

SCRIPT = (Path(__file__).parent / "answers.py").read_text()
RUNTIMES = ("onnxruntime", "triton")
SECONDS = 300


@pytest.fixture(scope="module")
def served(kube):
    """The magika model by each runtime, and once more by Triton with requests that are joined."""
    joined = {"batching": {"maxBatchSize": 8, "maxQueueDelayMicroseconds": 2000}}
    specs = {runtime: {"runtime": runtime} for runtime in RUNTIMES} | {"joined": {"runtime": "triton", **joined}}
    for name, serving in specs.items():
        kube.apply(model(f"magika-{name}", MAGIKA, serving=serving))
    return {
        name: until(f"{name} is Ready", found(kube, f"magika-{name}", true="Ready"), seconds=SECONDS)["status"]
        for name in specs
    }


@pytest.fixture(scope="module")
def answers(kube, platform, served):
    """What a client in the cluster is answered through each Service, over HTTP and gRPC."""
    return {
        name: json.loads(
            platform.client(kube, f"ask-{name}", SCRIPT, {}, f"magika-{name}.{kube.namespace}.svc", f"magika-{name}")
        )
        for name in served
    }


def test_status_names_the_runtime_that_serves(served):
    assert {name: status["serving"]["runtime"] for name, status in served.items()} == {
        "onnxruntime": "onnxruntime",
        "triton": "triton",
        "joined": "triton",
    }
    assert all(status["serving"]["provider"] == "CPU" for status in served.values())


def test_both_runtimes_give_the_same_tensors_over_http_and_grpc(answers):
    (expected, *others) = [digests for told in answers.values() for digests in told["answers"].values()]
    assert len(others) == 2 * len(answers) - 1
    assert all(other == expected for other in others)


def test_both_say_the_same_of_the_model_and_of_the_revision(answers, served):
    metadata = {name: (told["inputs"], told["outputs"]) for name, told in answers.items()}
    assert len({json.dumps(item) for item in metadata.values()}) == 1
    for name, told in answers.items():
        assert told["revision"] == served[name]["active"]["revision"]
        assert told["metrics"] >= 1


def test_triton_runs_as_restricted_as_everything_else(kube, served):
    (deployment,) = kube.list("deployments", f"{names.LABEL_MODEL}=magika-triton")
    assert deployment["metadata"]["labels"][names.LABEL_RUNTIME] == "triton"
    target = f"deployment/{deployment['metadata']['name']}"
    for folder in ("/models", "/artifacts", "/opt"):
        script = f"touch {folder}/x 2>/dev/null && echo written || echo refused"
        assert kube.run("exec", target, "-c", "server", "--", "sh", "-c", script).strip() == "refused", folder


def test_changing_the_runtime_measures_nothing_again(kube, served):
    before = [(stage["name"], stage["digest"]) for stage in served["onnxruntime"]["stages"] if stage["name"] != "probe"]
    kube.patch("onnxmodel", "magika-onnxruntime", {"spec": {"serving": {"runtime": "triton"}}})

    def changed():
        seen = kube.get("onnxmodel", "magika-onnxruntime")
        done = is_true(seen, "Ready") and seen["status"].get("serving", {}).get("runtime") == "triton"
        return seen if done and seen["status"]["observedGeneration"] == seen["metadata"]["generation"] else None

    after = until("Triton serves instead", changed, seconds=SECONDS)["status"]
    assert [(s["name"], s["digest"]) for s in after["stages"] if s["name"] != "probe"] == before


def test_why_triton_cannot_load_a_model_is_in_status(kube, platform):
    """The tests' backend, which runs beside numpy 2 in its image, has no booleans: it fails as a native one would."""
    platform.upload({"words/model.onnx": models.strings().SerializeToString()})
    kube.apply(model("words", "s3://models/words/model.onnx", serving={"runtime": "triton"}))
    status = until("it is Stalled", found(kube, "words", true="Stalled", reason="TritonLoadFailed"), seconds=SECONDS)[
        "status"
    ]
    assert status["lastFailure"]["stage"] == "serve"
    assert "cannot be exchanged by the test's backend" in status["lastFailure"]["message"]
    assert not is_true({"status": status}, "Available")


def test_what_triton_cannot_be_told_is_said_by_name(kube):
    serving = {"runtime": "triton", "executionProviders": ["CPU"], "providerOptions": {"CPU": {"use_arena": "1"}}}
    kube.apply(model("magika-refused", MAGIKA, serving=serving))
    status = until(
        "it is Stalled", found(kube, "magika-refused", true="Stalled", reason="OptionUnsupported"), seconds=SECONDS
    )["status"]
    assert status["lastFailure"]["stage"] == "serve"
    assert "use_arena" in status["lastFailure"]["message"]
    assert status["lastFailure"]["field"] == "spec.serving.providerOptions.CPU"
