"""An outcome always fits into a termination message."""

import dataclasses
import random
import string

import pytest

from onnxmodel_runtime.contract.benchmark import BenchmarkResult, Environment, Point
from onnxmodel_runtime.contract.loadtest import LoadTestResult
from onnxmodel_runtime.contract.model import Parity, Tensor
from onnxmodel_runtime.contract.optimize import OptimizeResult, Pass, Variant
from onnxmodel_runtime.contract.outcome import Failure, Outcome, decode
from onnxmodel_runtime.contract.probe import ProbeResult
from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.contract.repository import RepositoryResult
from onnxmodel_runtime.contract.stages import RESULTS, Result
from onnxmodel_runtime.contract.store import PushResult
from onnxmodel_runtime.contract.validate import Finding, ModelFacts, ValidateResult
from onnxmodel_runtime.errors import clip
from onnxmodel_runtime.sandbox.termination import fit

LETTERS = string.ascii_letters + string.digits

CJK = "".join(chr(number) for number in range(0x4E00, 0x9FA5))

EMOJI = "".join(chr(number) for number in range(0x1F300, 0x2F300))


def facts(tensors: int) -> ModelFacts:
    names = [f"{number * 2654435761 % 2**32:08x}" * 20 for number in range(tensors)]
    shapes = tuple(Tensor(name, "FP32", (-1, index)) for index, name in enumerate(names))
    return ModelFacts("0" * 64, 1, 8, 17, "tests", 1, 1, shapes, shapes)


@pytest.mark.parametrize("tensors", [1, 20, 500])
@pytest.mark.parametrize("findings", [0, 30, 1000])
def test_a_validation_always_fits(tensors: int, findings: int) -> None:
    found = tuple(
        Finding("ONNX-X", "error", f"{n * 40503 % 65536:04x}" * 40, f"{n * 2654435761 % 2**32:08x}" * 90, "fix")
        for n in range(findings)
    )
    outcome = decode(fit(Outcome("validate", 1.0, ValidateResult(facts(tensors), found))))
    assert isinstance(outcome.result, ValidateResult)
    assert outcome.result.model.sha256 == "0" * 64
    if findings and tensors < 500:
        assert outcome.result.findings


def test_a_failure_always_fits() -> None:
    noise = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(800))
    outcome = decode(fit(Outcome("validate", 1.0, failure=Failure("NotOnnx", noise, noise[::-1]))))
    assert outcome.failure is not None
    assert outcome.failure.reason == "NotOnnx"


def noise(count: int, characters: str, seed: int = 1) -> str:
    return "".join(random.Random(seed).choices(characters, k=count))


@pytest.mark.parametrize("characters", [CJK, EMOJI], ids=["cjk", "emoji"])
def test_a_validation_with_names_of_any_script_fits(characters: str) -> None:
    tensors = tuple(Tensor(noise(200, characters, seed), "FP32", (-1,) * 40) for seed in range(64))
    model = ModelFacts("0" * 64, 1, 8, 17, noise(100, characters), 1, 1, tensors, tensors)
    text = noise(800, characters)
    found = (Finding("ONNX-X", "error", text[:200], text, text[::-1]),) * 20
    outcome = decode(fit(Outcome("validate", 1.0, ValidateResult(model, found, "https://h/" + noise(2000, LETTERS)))))
    assert isinstance(outcome.result, ValidateResult)
    assert outcome.result.model.inputs
    assert outcome.result.findings[0].id == "ONNX-X"


def test_an_optimization_fits_whatever_outputs_are_called() -> None:
    def variant(name: str, seed: int) -> Variant:
        text = noise(8000, LETTERS, seed)
        return Variant(
            name,
            f"/artifacts/{name}",
            sha256=text[:64],
            parity=Parity(
                False, max_absolute=1, max_relative=1, cosine=1, output=text, batch_sizes=(1,), note=text[::-1]
            ),
        )

    passes = tuple(Pass(f"pass-{number}", 1, 1, noise(400, LETTERS, number)) for number in range(3))
    variants = (
        *(dataclasses.replace(variant(f"v{seed}", seed), passes=passes) for seed in range(6)),
        Variant("x", skipped=noise(500, EMOJI)),
    )
    outcome = decode(fit(Outcome("optimize", 1.0, OptimizeResult(variants, "/p", ProviderUse("CPU", 100.0)))))
    assert isinstance(outcome.result, OptimizeResult)
    assert [item.sha256 for item in outcome.result.variants] == [item.sha256 for item in variants]


def test_a_benchmark_fits_on_a_machine_of_many_words() -> None:
    found = Environment(noise(3000, LETTERS), 1.0, noise(3000, EMOJI), {"x": noise(3000, LETTERS)})
    left_out = {f"v{seed}": noise(200, EMOJI, seed) for seed in range(6)}
    points = (Point("a", 1, 1, p50=1, p95=1, p99=1, throughput=1, samples=1),)
    result = BenchmarkResult(points, ProviderUse("CPU", 100.0), found, left_out=left_out)
    outcome = decode(fit(Outcome("benchmark", 1.0, result)))
    assert isinstance(outcome.result, BenchmarkResult)
    assert outcome.result.points == result.points
    assert set(outcome.result.left_out) == set(left_out)


NOISE = noise(800, EMOJI)
LARGEST = (
    ValidateResult(facts(100), (Finding("ONNX-X", "error", NOISE, NOISE, NOISE),) * 40),
    OptimizeResult(
        tuple(Variant(f"v{n}", skipped=noise(400, EMOJI, n)) for n in range(9)), "/p", ProviderUse("CPU", 100.0)
    ),
    BenchmarkResult(
        tuple(
            Point(
                f"v{n // 16}", n, n, p50=n / 7, p95=n / 6, p99=n / 3, throughput=n / 9, samples=n, p90=n / 11, spread=n
            )
            for n in range(112)
        ),
        ProviderUse("CPU", 100.0),
        Environment(NOISE, 1.0, NOISE),
    ),
    LoadTestResult(
        tuple(
            Point("v", n, n, p50=n / 7, p95=n / 6, p99=n / 3, throughput=n / 9, samples=n, p90=n / 11) for n in range(8)
        )
    ),
    ProbeResult(1.23456789, 2.3456789, 1e-7, ProviderUse(NOISE[:100], 12.345), clip(NOISE, 400)),
    PushResult({f"optimize/{noise(16, LETTERS, n)}/{noise(20, LETTERS, n)}": noise(64, LETTERS, n) for n in range(12)}),
    RepositoryResult(f"/artifacts/{noise(400, LETTERS)}", True, f"/artifacts/{noise(400, LETTERS)}"),
)
"""The most that each command leaves."""


@pytest.mark.parametrize("result", LARGEST, ids=lambda result: type(result).__name__)
def test_the_largest_result_of_each_command_fits(result: Result) -> None:
    command = next(name for name, kind in RESULTS.items() if kind is type(result))
    assert type(decode(fit(Outcome(command, 1.0, result))).result) is type(result)


def test_a_push_of_more_images_than_fit_succeeds_and_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    """A stage that a model took over chooses how many variants there are."""
    images = {f"optimize/{'a' * 16}/v{n}": f"sha256:{noise(64, '0123456789abcdef', n)}" for n in range(200)}
    assert decode(fit(Outcome("push", 1.0, PushResult(images)))) == Outcome("push", 1.0)
    assert "servers pull what was stored: 200 images" in capfd.readouterr().err


def test_each_result_is_tried_at_its_largest() -> None:
    """Where one does not fit, `termination` must shorten it, or its stage must bound it."""
    assert {type(result) for result in LARGEST} == set(RESULTS.values()), "add the new one to LARGEST"


def test_what_compresses_too_well_is_still_read() -> None:
    model = dataclasses.replace(facts(1), producer="a" * (2 << 20))
    assert decode(fit(Outcome("validate", 1.0, ValidateResult(model)))).result is not None
