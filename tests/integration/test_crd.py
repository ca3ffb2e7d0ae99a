"""The CRD on a real API server: accepted, and it refuses at apply what a rule can see, naming the field."""

import json

import pytest

from dev.kube import KubectlError
from tests.integration.support import GOOD, model


def test_structural_and_established(kube):
    crd = kube.get("crd", "onnxmodels.onnx-operator.dev")
    conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions
    assert len(json.dumps(crd)) < 200_000


def test_a_uri_is_enough_and_the_rest_is_filled_in(kube):
    kube.apply(model(GOOD))
    stored = kube.get("onnx", "magika")
    assert stored["spec"]["serving"]["replicas"] == 1
    assert stored["spec"]["validation"]["opset"] == {"min": 13}
    assert stored["status"] == {"observedGeneration": -1}, "kstatus must not take a new model for a ready one"
    assert "magika" in kube.run("get", "inference"), "the category"
    header = kube.run("get", "onnxmodels").splitlines()[0].split()
    assert header == [
        "NAME",
        "READY",
        "PHASE",
        "RUNTIME",
        "PROVIDER",
        "VARIANT",
        "P99",
        "THROUGHPUT",
        "REPLICAS",
        "AGE",
    ]
    wide = kube.run("get", "onnxmodels", "-o", "wide").splitlines()[0].split()
    assert wide[-5:] == ["REASON", "OPSET", "SHA256", "URL", "MESSAGE"]


def test_scale(kube):
    kube.apply(model(GOOD))
    kube.run("scale", "onnxmodel/magika", "--replicas=3")
    assert kube.get("onnxmodel", "magika")["spec"]["serving"]["replicas"] == 3


SIGNATURE = {"uri": "s3://b/s", "publicKeyRef": {"name": "n", "key": "k"}, "identity": {"identity": "i", "issuer": "i"}}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"sorce": {}}, 'sorce"'),
        ({"serving": {"runtime": "tensorflow"}}, "spec.serving.runtime: Unsupported value"),
        ({"source": {"uri": "s3:/missing-slash"}}, "spec.source.uri: Invalid value"),
        ({"source": {}}, 'missing required field "uri" in dev.onnx-operator.v1alpha1.OnnxModel.spec.source'),
        (
            {"source": {**GOOD["source"], "signature": SIGNATURE}},
            "exactly one of publicKeyRef and identity must be set",
        ),
        ({"serving": {"replicas": -1}}, "spec.serving.replicas: Invalid value"),
        (
            {"serving": {"batching": {"maxBatchSize": 4}}, "benchmark": {"batchSizes": [8]}},
            "benchmark.batchSizes must not exceed serving.batching.maxBatchSize",
        ),
        ({"serving": {"batching": {"maxBatchSize": 4}}}, "benchmark.batchSizes must not exceed"),
        (
            {"validation": {"batch": "None"}, "serving": {"batching": {"maxQueueDelayMicroseconds": 9}}},
            "serving.batching.maxQueueDelayMicroseconds must be 0",
        ),
        (
            {"serving": {"runtime": "triton"}, "rollout": {"gates": {"compare": {}}}},
            "rollout.gates.compare needs serving.runtime onnxruntime",
        ),
        ({"rollout": {"gates": {"compare": {"percent": 0}}}}, "spec.rollout.gates.compare.percent: Invalid value"),
        ({"validation": {"inputs": [{"name": "x", "datatype": "FLOAT", "shape": [1]}]}}, "datatype: Unsupported value"),
        ({"benchmark": {"batchSizes": [1, 2, 3, 4, 5]}}, "must have at most 4 items"),
        (
            {"benchmark": {"baseline": {"framework": "pytorch", "batchSize": 3, "p50Milliseconds": 5}}},
            "benchmark.baseline is compared at its batchSize and concurrency 1",
        ),
        ({"serving": {"executionProviders": ["CPU", "CUDA"]}}, "CPU must be the last execution provider"),
        ({"serving": {"executionProviders": ["CUDA", "CUDA"]}}, "an execution provider is listed twice"),
        (
            {"serving": {"providerOptions": {"CPU": {"use_arena": "1"}}}},
            'unknown field "CPU" in dev.onnx-operator.v1alpha1.OnnxModel.spec.serving.providerOptions',
        ),
        (
            {"serving": {"pod": {"labels": {"onnx-operator.dev/model": "other"}}}},
            "spec.serving.pod.labels: Invalid value",
        ),
        ({"serving": {"pod": {"labels": {"app.kubernetes.io/managed-by": "me"}}}}, "belongs to the operator"),
        (
            {
                "serving": {
                    "pod": {"annotations": {"container.apparmor.security.beta.kubernetes.io/server": "unconfined"}}
                }
            },
            "restricted Pod Security Standard",
        ),
        ({"source": {**GOOD["source"], "env": {"LD_PRELOAD": "x"}}}, "a key of env must be one of AWS_REGION"),
        ({"source": {"uri": "s3://b/" + "k" * 3000}}, "may not be more than 2048"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True], ids=["apply", "dry run"])
def test_refused_at_apply_with_the_field(kube, spec, words, dry_run):
    with pytest.raises(KubectlError) as error:
        kube.apply(model({**GOOD, **spec}), dry_run=dry_run)
    assert words in str(error.value)


@pytest.mark.parametrize("name", ["a.b", "1st", "a" * 64])
def test_a_name_that_no_service_can_have_is_refused(kube, name):
    with pytest.raises(KubectlError, match="must be a DNS label"):
        kube.apply(model(GOOD, name))
