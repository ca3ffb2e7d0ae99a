from dataclasses import replace
from typing import Any

import pytest

from dev.results import validated
from onnxmodel_operator.plan.stages import validate
from onnxmodel_operator.plan.values import Advance
from onnxmodel_operator.platform.settings import Policy, Resources
from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.contract.validate import SignatureRule, ValidateRequest
from tests.contexts import context, platform

SOURCE = {"uri": "s3://models/m.onnx", "sha256": "a" * 64}
IDENTITY = {"uri": "s3://models/m.sig", "identity": {"identity": "me@example.com", "issuer": "https://issuer"}}
KEY = {"uri": "s3://models/m.sig", "publicKeyRef": {"name": "keys", "key": "cosign.pub"}}
GOLDEN = {"uri": "s3://models/g.npz", "tolerance": {"relative": 0.5, "absolute": 0.25, "cosine": 0.75}}
BY_KEY = SignatureRule("env:ONNXMODEL_PUBLIC_KEY", origin="keys/cosign.pub")
GPU = {"nodePool": "a100"}


@pytest.mark.parametrize(
    ("spec", "field", "expected"),
    [
        ({}, "sha256", ""),
        ({"source": SOURCE}, "sha256", "a" * 64),
        ({}, "signature", None),
        ({"source": {**SOURCE, "signature": IDENTITY}}, "signature", SignatureRule("", "me@example.com", "https://issuer")),
        ({"source": {**SOURCE, "signature": KEY}}, "signature", BY_KEY),
        ({}, "golden", None),
        ({"validation": {"golden": GOLDEN}}, "golden", Tolerance(0.5, 0.25, 0.75)),
        ({}, "serving_memory", 2 << 30),
        ({"serving": {"resources": {"limits": {"memory": "1Gi"}}}}, "serving_memory", 1 << 30),
        ({"serving": {"resources": {"limits": {"cpu": "1"}}}}, "serving_memory", 0),
        ({"serving": GPU}, "serving_memory", 0),
        ({"serving": GPU}, "providers", ("TensorRT", "CUDA", "CPU")),
        ({"serving": {"batching": {"maxBatchSize": 8}}}, "max_batch_size", 8),
    ],
)  # fmt: skip
def test_what_is_asked(spec: dict[str, Any], field: str, expected: Any) -> None:
    assert getattr(validate.ask(context(**spec)).request, field) == expected


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        ({}, None),
        ({"source": {**SOURCE, "signature": IDENTITY}}, None),
        ({"source": {**SOURCE, "signature": KEY}}, "keys"),
    ],
)
def test_a_public_key_comes_from_its_secret(spec: dict[str, Any], key: str | None) -> None:
    asked = validate.ask(context(**spec)).public_key
    assert (asked and asked.name) == key


@pytest.mark.parametrize(
    ("policy", "field", "expected"),
    [
        (Policy(), "opset_floor", 0),
        (Policy(min_opset=9), "opset_floor", 9),
        (Policy(operator_domains=("com.example",)), "domains", ("com.example",)),
        (Policy(max_nodes=5), "max_nodes", 5),
        (Policy(max_nesting=5), "max_depth", 5),
        (Policy(), "pin_all", False),
        (Policy(require=({"namespaces": ("team-*",), "pin": True},)), "pin_all", True),
    ],
)
def test_what_the_platform_asks(policy: Policy, field: str, expected: Any) -> None:
    request = validate.ask(context(settings=platform(policy=policy), source=SOURCE)).request
    assert getattr(request, field) == expected


def test_it_runs_without_what_the_server_needs() -> None:
    light = Resources(limits={"memory": "3Gi"})
    jobs = context().settings.jobs.model_copy(update={"resources": light})
    placement = validate.ask(context(settings=platform(jobs=jobs), serving=GPU)).placement
    assert (placement.image, placement.resources, placement.gpus) == ("runtime:cpu", light, 0)
    assert placement.pool.gpu_resource, "near the server all the same"


def test_the_folder_of_the_source_is_named_by_what_is_fetched() -> None:
    def folder(settings: Any = None, **source: Any) -> str:
        found = validate.ask(context(settings=settings or platform(), source={**SOURCE, **source}))
        assert found.fetch is not None
        assert found.fetch.directory == found.request.directory
        return found.fetch.directory

    assert folder().startswith("/artifacts/source/")
    assert folder() == folder(settings=platform(policy=Policy(max_model_bytes=5)))
    assert folder() != folder(secretRef={"name": "other"})
    assert folder() != folder(sha256="b" * 64)


def test_whatever_was_validated_goes_on() -> None:
    known = context()
    assert validate.gate(known, validated()) == Advance(known)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, None),
        ({"sha256": "no digest"}, "the model has no digest"),
        ({"sha256": "b" * 64}, f"the model's digest is {'b' * 64}, but source.sha256 is {'a' * 64}"),
        ({"nodes": 2**63}, "one of the model's numbers is out of range"),
        ({"opset": -2}, "one of the model's numbers is out of range"),
    ],
)
def test_what_is_believed(changes: dict[str, Any], wrong: str | None) -> None:
    assert validate.believe(ValidateRequest("", sha256="a" * 64), validated(**changes)) == wrong


@pytest.mark.parametrize("sizes", [{"n": 0}, {"n": 2**20 + 1}, {str(n): 1 for n in range(65)}])
def test_odd_sizes_are_not_believed(sizes: dict[str, int]) -> None:
    wrong = validate.believe(ValidateRequest(""), replace(validated(), sizes=sizes))
    assert wrong == "it has more than 64 sizes, or one that is not from 1 to 1048576"
