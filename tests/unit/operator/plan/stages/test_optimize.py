from dataclasses import replace
from typing import Any

import pytest

from dev.results import optimized, validated
from onnxmodel_operator.plan.stages import optimize
from onnxmodel_operator.plan.values import Advance
from onnxmodel_runtime.contract.model import Parity
from onnxmodel_runtime.contract.optimize import Calibration, OptimizeRequest, Variant
from onnxmodel_runtime.contract.stages import Stage
from tests.contexts import at, context, walk

REQUEST = OptimizeRequest("m", "a" * 64, "d")
STATIC = {"variants": ["int8-static"]}
DATA = {"uri": "s3://models/c.npz", "method": "Percentile", "percentile": 99.0, "samples": 5}


@pytest.mark.parametrize(
    ("optimization", "field", "expected"),
    [
        ({"variants": ["fp16", "fp32", "fp16"]}, "variants", ("fp32", "fp16")),
        ({}, "calibration", Calibration()),
        ({"calibration": DATA}, "calibration", Calibration()),
        ({**STATIC, "calibration": DATA}, "calibration", Calibration("Percentile", 99.0, 5)),
        ({**STATIC, "calibration": {**DATA, "method": "MinMax"}}, "calibration", Calibration("MinMax", 99.99, 5)),
        ({"calibration": DATA}, "calibration_data", ""),
        ({}, "sha256", "a" * 64),
        ({}, "batch_sizes", (1, 3)),
        ({}, "max_batch_size", 32),
    ],
)
def test_what_is_asked(optimization: dict[str, Any], field: str, expected: Any) -> None:
    request = optimize.ask(at(Stage.OPTIMIZE, context(optimization=optimization))).request
    assert getattr(request, field) == expected


def test_what_was_validated_is_asked_for() -> None:
    parity = Parity(True, max_absolute=0.0, max_relative=0.0, cosine=1.0, output="y", batch_sizes=(1,))
    found = replace(validated(), golden=parity, data_sha256="d" * 64, signer="me", sizes={"n": 4})
    known = at(Stage.OPTIMIZE, validate=found)
    request = optimize.ask(known).request
    assert (request.golden, request.data_sha256, request.signer, request.sizes) == (True, "d" * 64, "me", {"n": 4})
    assert request.model == f"{known.step(Stage.VALIDATE).request.directory}/model.onnx"


def test_calibration_data_are_fetched_by_the_job_that_reads_them() -> None:
    asked = optimize.ask(at(Stage.OPTIMIZE, context(optimization={**STATIC, "calibration": DATA})))
    assert asked.fetch is not None
    assert (asked.fetch.kind, asked.fetch.uri) == ("calibration", "s3://models/c.npz")
    assert asked.request.calibration_data == asked.fetch.directory
    assert asked.fetch.directory.startswith("/artifacts/calibration/")
    assert optimize.ask(at(Stage.OPTIMIZE, context(optimization=STATIC))).fetch is None


def test_it_runs_as_the_server_does() -> None:
    known = at(Stage.OPTIMIZE, context(serving={"nodePool": "a100"}))
    assert walk(known).context.steps[-1].placement == known.platform.server
    assert known.platform.server.gpus == 1


def test_whatever_was_made_goes_on() -> None:
    known = context()
    assert optimize.gate(known, optimized()) == Advance(known)


ORIGINAL, FP32 = optimized().variants


@pytest.mark.parametrize(
    ("variants", "wrong"),
    [
        ((ORIGINAL, FP32), None),
        ((ORIGINAL, Variant("fp16", skipped="why")), None),
        ((ORIGINAL, FP32, FP32), "two of its variants have the same name"),
        (tuple(replace(ORIGINAL, name=str(n)) for n in range(17)), "two of its variants have the same name"),
        ((FP32,), "its variants do not include the original"),
        ((replace(ORIGINAL, path=""), FP32), "its variants do not include the original"),
        ((ORIGINAL, replace(FP32, sha256="x")), "variant fp32 has no digest"),
        ((ORIGINAL, Variant("fp32")), "variant fp32 has neither a file nor a reason"),
        ((ORIGINAL, replace(FP32, parity=None)), "variant fp32 was not compared with the original"),
        ((ORIGINAL, replace(FP32, unjoined="x" * 1025)), "variant fp32: the reason why it is not batched is too long"),
        (
            (
                ORIGINAL,
                replace(
                    FP32,
                    parity=Parity(
                        True, max_absolute=float("nan"), max_relative=0.0, cosine=1.0, output="y", batch_sizes=(1,)
                    ),
                ),
            ),
            "the parity of variant fp32 is not a number",
        ),
    ],
)
def test_what_is_believed(variants: tuple[Variant, ...], wrong: str | None) -> None:
    assert optimize.believe(REQUEST, replace(optimized(), variants=variants)) == wrong


def test_another_batch_axis_is_not_believed() -> None:
    assert optimize.believe(REQUEST, replace(optimized(), batch="Second")) == "'Second' is not a valid batch axis"
