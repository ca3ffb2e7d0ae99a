"""Specs that the models refuse, by the field's name, and how they read numbers."""

import pytest

from onnxmodel_operator.api.resource import SpecError, parse
from tests.builders import body


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({}, ["spec.source.uri"]),
        ({"source": {"uri": "ftp://host/model"}}, ["spec.source.uri"]),
        ({"source": {"uri": "s3:/missing-slash"}}, ["spec.source.uri"]),
        ({"source": {"uri": "s3://bucket"}}, ["spec.source.uri"]),
        ({"source": {"uri": "https://user:secret@host/m.onnx"}}, ["spec.source.uri"]),
        ({"source": {"uri": "s3://b/k", "sha256": "abc"}}, ["spec.source.sha256"]),
        ({"serving": {"runtime": "tensorflow"}}, ["spec.serving.runtime"]),
        ({"serving": {"executionProviders": ["ROCm"]}}, ["spec.serving.executionProviders[0]"]),
        ({"serving": {"executionProviders": ["CPU", "CUDA"]}}, ["spec.serving"]),
        ({"serving": {"executionProviders": ["CUDA", "CUDA", "CPU"]}}, ["spec.serving"]),
        ({"serving": {"providerOptions": {"CPU": {"use_arena": "1"}}}}, ["spec.serving.providerOptions.CPU"]),
        ({"serving": {"replicas": -1}}, ["spec.serving.replicas"]),
        ({"serving": {"batching": {"maxBatchSize": 32, "preferredBatchSizes": [8, 33], "maxQueueDelayMicroseconds": 9}}},
         ["spec.serving.batching"]),
        ({"serving": {"batching": {"preferredBatchSizes": [8]}}}, ["spec.serving.batching"]),
        ({"serving": {"batching": {"maxQueueSize": 0, "defaultTimeoutMicroseconds": -1}}},
         ["spec.serving.batching.defaultTimeoutMicroseconds", "spec.serving.batching.maxQueueSize"]),
        ({"serving": {"pod": {"labels": {"a": "-"}}}}, ["spec.serving.pod.labels.a"]),
        ({"serving": {"pod": {"topologySpreadConstraints": [
            {"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2}]}}},
         ["spec.serving.pod.topologySpreadConstraints[0]"]),
        ({"source": {"uri": "s3://b/k", "env": {"AWS_SECRET_ACCESS_KEY": "a"}}}, ["spec.source.env"]),
        ({"wrong": 1}, ["spec.wrong"]),
        ({"validation": {"batch": "Second"}}, ["spec.validation.batch"]),
        ({"validation": {"batch": "None"}, "serving": {"batching": {"maxQueueDelayMicroseconds": 9}}}, ["spec"]),
        ({"benchmark": {"baseline": {"framework": "pytorch", "batchSize": 3, "p50Milliseconds": 5}}}, ["spec.benchmark"]),
        ({"validation": {"opset": {"min": 0}}, "benchmark": {"batchSizes": []}},
         ["spec.validation.opset.min", "spec.benchmark.batchSizes"]),
        ({"source": {"uri": "s3://b/k", "signature": {
            "uri": "s3://b/s", "publicKeyRef": {"name": "n", "key": "k"}, "identity": {"identity": "i", "issuer": "i"}}}},
         ["spec.source.signature"]),
        ({"source": {"uri": "s3://b/k", "signature": {"uri": "s3://b/s"}}}, ["spec.source.signature"]),
    ],
)  # fmt: skip
def test_refusals_name_the_field(spec, fields):
    resource = body()
    resource["spec"] = {"source": {"uri": "s3://b/k"}, **spec} if spec else {"source": {}}
    with pytest.raises(SpecError) as error:
        parse(resource)
    assert [field for field, _ in error.value.fields] == fields
    assert all(field in str(error.value) for field in fields)


@pytest.mark.parametrize("same", [(0, 0.0, -0.0), (1, 1.0)], ids=["zero", "one"])
def test_a_number_is_read_as_its_field_has_it_however_it_is_written(same):
    """Digests are remembered by what they cover, and Python's 1 is equal to 1.0 and to True."""
    read = [parse(body(optimization={"parity": {"absolute": number}})).spec.optimization.parity for number in same]
    assert {repr(parity) for parity in read} == {repr(read[0])}
    assert type(read[0].absolute) is float
    counts = [parse(body(serving={"replicas": number})).spec.serving for number in (1, 1.0)]
    assert {repr(serving) for serving in counts} == {repr(counts[0])}
    with pytest.raises(SpecError):
        parse(body(optimization={"parity": {"absolute": True}}))
    with pytest.raises(SpecError):
        parse(body(serving={"replicas": True}))


@pytest.mark.parametrize(
    "key",
    [
        "onnx-operator.dev/model",
        "x.onnx-operator.dev/y",
        "app.kubernetes.io/managed-by",
        "pod-template-hash",
        "job-name",
        "controller-uid",
        "batch.kubernetes.io/job-name",
        "container.apparmor.security.beta.kubernetes.io/server",
        "container.seccomp.security.alpha.kubernetes.io/server",
        "seccomp.security.alpha.kubernetes.io/pod",
        "eks.amazonaws.com/skip-containers",
        "azure.workload.identity/use",
    ],
)
@pytest.mark.parametrize("field", ["labels", "annotations"])
def test_keys_that_are_not_the_models_are_refused(key, field):
    with pytest.raises(SpecError, match=f"spec.serving.pod: {field}: {key} belongs to"):
        parse(body(serving={"pod": {field: {key: "a"}}}))


@pytest.mark.parametrize("key", ["team", "not-onnx-operator.dev/a", "app.kubernetes.io/part-of", "job-names"])
def test_other_keys_are_free(key):
    assert parse(body(serving={"pod": {"labels": {key: "a"}}})).spec.serving.pod.labels == {key: "a"}
