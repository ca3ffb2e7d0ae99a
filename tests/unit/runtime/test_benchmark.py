"""The grid, fair turns, and numbers that fit."""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxmodel_runtime import benchmark as module
from onnxmodel_runtime import machine, profiler, report
from onnxmodel_runtime.benchmark import MAX_POINTS, benchmark
from onnxmodel_runtime.contract import (
    TERMINATION_BYTES,
    BenchmarkRequest,
    BenchmarkResult,
    Candidate,
    Environment,
    Outcome,
    Point,
    Providers,
    ProviderUse,
    decode,
    encode,
)
from onnxmodel_runtime.digests import digest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.outcome import fit
from onnxmodel_runtime.profiler import Operator
from onnxmodel_runtime.stats import percentile, significant
from onnxmodel_runtime.windows import STABLE, Window
from tests import models


def candidate(name: str, made: Any, directory: Path) -> Candidate:
    path = models.save(made, directory / name)
    return Candidate(name, str(path), digest(path))


def test_every_candidate_at_every_point(tmp_path: Path) -> None:
    request = BenchmarkRequest(
        (candidate("original", models.mlp(), tmp_path), candidate("fp32", models.mlp(), tmp_path)),
        "",
        batch_sizes=(1, 4),
        concurrency=(1, 3),
        seconds=0.02,
        instances=2,
    )
    result = benchmark(request)
    assert [(p.variant, p.batch_size, p.concurrency) for p in result.points] == [
        (name, batch, callers) for name in ("original", "fp32") for batch in (1, 4) for callers in (1, 3)
    ]
    for point in result.points:
        assert 0 < point.p50 <= point.p90 <= point.p95 <= point.p99
        assert point.samples >= STABLE
        assert point.throughput > 0
    assert set(result.load_seconds) == set(result.memory_bytes) == set(result.uses) == {"original", "fp32"}
    assert result.uses["fp32"].nodes["CPU"] > 0
    assert result.provider.name == "CPU"
    assert result.environment.accelerator == ""
    assert {"onnxruntime", "onnx", "numpy", "python"} == set(result.environment.versions)
    assert decode(encode(Outcome("benchmark", 1.0, result))).result == result


def test_a_model_of_one_batch_size_is_measured_at_that(tmp_path: Path) -> None:
    request = BenchmarkRequest((candidate("a", models.mlp(batch=2), tmp_path),), "", concurrency=(1,), seconds=0.01)
    assert {point.batch_size for point in benchmark(request).points} == {2}


@pytest.mark.parametrize("sizes", [tuple(range(1, 58)), ()])
def test_the_grid_is_bounded(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    request = BenchmarkRequest((candidate("a", models.mlp(), tmp_path),), "", batch_sizes=sizes, concurrency=(1, 2))
    with pytest.raises(StageError, match="GridTooLarge"):
        benchmark(request)


def test_the_artifact_is_the_one_that_was_proven(tmp_path: Path) -> None:
    proven = candidate("a", models.mlp(), tmp_path)
    models.save(models.mlp(seed=8), tmp_path / "a")
    with pytest.raises(StageError, match="DigestMismatch"):
        benchmark(BenchmarkRequest((proven,), ""))


def test_one_bad_variant_does_not_cost_the_original(tmp_path: Path) -> None:
    bad = candidate("fp32", models.custom_operator(), tmp_path)
    damaged = Candidate("fused", bad.path, "0" * 64)
    original = candidate("original", models.mlp(), tmp_path)
    result = benchmark(BenchmarkRequest((original, bad, damaged), "", batch_sizes=(1,), concurrency=(1,), seconds=0.02))
    assert {point.variant for point in result.points} == {"original"}


def test_a_candidate_that_fails_is_named(tmp_path: Path) -> None:
    request = BenchmarkRequest((candidate("int8", models.hidden_batch(), tmp_path),), "", batch_sizes=(3,))
    with pytest.raises(StageError, match="int8 cannot run with 3 rows"):
        benchmark(request)


@pytest.mark.parametrize(
    ("callers", "instances", "runs_per_answer"), [(1, 1, 1), (4, 1, 4), (4, 2, 2), (2, 2, 1), (1, 4, 1)]
)
def test_waiting_for_an_instance_is_latency(callers: int, instances: int, runs_per_answer: int) -> None:
    """With more callers than instances each answer takes as many runs as there are callers before it."""
    work = 0.01
    session: Any = SimpleNamespace(run=lambda *_: time.sleep(work))
    loaded = module._Loaded(Candidate("a", "", ""), [session] * instances, ProviderUse("CPU", 100.0), -1, 0.0)
    window = module._window(loaded, {"x": np.zeros(1)}, callers, 0.2)
    # From the first sample on; above, only as far as a busy machine's clock needs.
    assert window.latencies[0] > work * runs_per_answer * 0.9
    assert window.p50 < work * (runs_per_answer + 1)
    assert window.rate < min(callers, instances) / work * 1.05


@pytest.mark.parametrize(("percent", "turns"), [(1e9, "abbaab"), (0.0, "abbaabbaab")], ids=["stable", "noisy"])
def test_candidates_take_turns(monkeypatch: pytest.MonkeyPatch, percent: float, turns: str) -> None:
    """A machine that slows down hits both alike, and both go on until both are stable."""
    seen: list[str] = []
    window: Callable[..., Window] = module._window

    def spied(loaded: Any, *rest: Any) -> Window:
        seen.append(loaded.candidate.name)
        return window(loaded, *rest)

    monkeypatch.setattr(module, "_window", spied)
    session: Any = SimpleNamespace(run=lambda *_: None)
    loaded = [
        module._Loaded(Candidate(name, "", ""), [session], ProviderUse("CPU", 100.0), -1, 0.0) for name in ("a", "b")
    ]
    request = BenchmarkRequest((), "", seconds=0.001, stable_percent=percent, windows=5)
    points = [point for point, _ in module._point(loaded, {}, 1, 1, request)]
    assert "".join(seen) == "ab" + turns
    assert [point.noisy for point in points] == [percent == 0] * 2


def test_a_profile_that_would_fill_the_disk_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses the rest of the file, and nothing dies of it."""
    monkeypatch.setattr(profiler, "_MAX_BYTES", 3000)
    rows = {"x": np.zeros((1, 4), np.float32)}
    assert 1 <= len(profiler.profile(candidate("a", models.mlp(), tmp_path), Providers(), rows, 4)) <= 3
    (tmp_path / "large").write_bytes(bytes(10_000))


def test_memory_is_each_candidates_own(tmp_path: Path) -> None:
    """The second of two equal models finds what the first left, and the large one's peak is gone when the small one loads."""
    large = candidate("large", models.mlp(hidden=500_000), tmp_path)  # 14 MB of weights
    small = candidate("small", models.mlp(), tmp_path)
    again = Candidate("again", large.path, large.sha256)
    request = BenchmarkRequest((large, small, again), "", (1,), (1,), seconds=0.001, windows=1)
    memory = benchmark(request).memory_bytes
    assert memory["large"] > 14_000_000
    assert memory["small"] < 7_000_000
    assert memory["again"] == pytest.approx(memory["large"], rel=0.3)


def test_an_operator_profile(tmp_path: Path) -> None:
    """By type, of one run of the graph as ONNX Runtime fused it."""
    given = candidate("a", models.mlp(), tmp_path)
    request = BenchmarkRequest((given,), "", (1,), (1,), seconds=0.001, directory=str(tmp_path / "report"))
    benchmark(request)
    found = report.read(tmp_path / "report").operators["a"]
    calls = {operator.name: operator.calls for operator in found}
    assert calls == {"FusedGemm": 1, "Gemm": 1, "Softmax": 1}
    assert {operator.provider for operator in found} == {"CPU"}
    assert [operator.milliseconds for operator in found] == sorted((o.milliseconds for o in found), reverse=True)


def test_a_profile_is_bounded_and_the_first_run_left_out() -> None:
    def node(name: str, kind: str, microseconds: int) -> str:
        known = {"op_name": kind, "provider": "CPUExecutionProvider"}
        return json.dumps({"cat": "Node", "name": f"{name}_kernel_time", "dur": microseconds, "args": known}) + ",\n"

    run = json.dumps({"cat": "Session", "name": "model_run", "dur": 1, "args": {}}) + "\n"
    once = [node("a", "Conv", 2000), node("b", "Conv", 4000), node("c", "Relu", 1000)]
    lines = ["[\n", node("a", "Conv", 10**9), run, *once, run, *once, run, '{"name":"cut "short"},\n', "]"]
    assert profiler.operators(lines) == (Operator("Conv", "CPU", 6.0, 2.0), Operator("Relu", "CPU", 1.0, 1.0))
    many = profiler.operators([node("n", f"Kind{index}", index) for index in range(1000)])
    assert len(many) == 41
    assert (many[-1].name, many[-1].calls) == ("960 others", 960.0)


@pytest.mark.parametrize("count", [64, MAX_POINTS])
def test_the_largest_grid_fits_a_termination_message(count: int) -> None:
    """With numbers that do not compress: noise in every digit. The largest loses a digit of each, and no point."""
    noise = random.Random(1)
    names = ["original", "fp32", "fused", "fp16", "int8-dynamic", "int8-static", "ort"]
    points = tuple(
        Point(
            names[i % 7],
            1 << (i // 28),
            1 << (i // 7 % 4),
            *(significant(noise.uniform(1, 1000)) for _ in range(4)),
            samples=noise.randrange(1, 100_000),
            p90=significant(noise.uniform(1, 1000)),
            noisy=noise.random() < 0.5,
        )
        for i in range(count)
    )
    result = BenchmarkResult(
        points,
        ProviderUse("TensorRT", 97.3, {"TensorRT": 1234, "CUDA": 12, "CPU": 3}),
        Environment(
            "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", 7.5, "2 x NVIDIA H100 80GB HBM3", machine.versions()
        ),
        {name: significant(noise.uniform(0, 100)) for name in names},
        {name: noise.randrange(1 << 34) for name in names},
        {
            name: ProviderUse("TensorRT", 97.3, {"TensorRT": noise.randrange(2000), "CUDA": 12, "CPU": 3})
            for name in names
        },
    )
    message = fit(Outcome("benchmark", 123.456, result))
    assert len(message) < TERMINATION_BYTES * 0.93
    sent = decode(message).result
    assert isinstance(sent, BenchmarkResult)
    assert (sent == result) is (count == 64)
    for kept, point in zip(sent.points, points, strict=True):
        assert (kept.variant, kept.batch_size, kept.concurrency, kept.noisy) == (
            *(point.variant, point.batch_size, point.concurrency, point.noisy),
        )
        assert (kept.p50, kept.throughput) == pytest.approx((point.p50, point.throughput), rel=0.005)


def test_percentiles_are_measured_values() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, percent) for percent in (50, 95, 99, 100)] == [50, 95, 99, 100]
    assert percentile([7.0], 99) == 7.0
    assert percentile([1.0, 2.0], 50) == 1.0


def test_significant_digits() -> None:
    assert [significant(value) for value in (1234567.0, 0.000123456, 0.0)] == [1_235_000, 0.0001235, 0.0]


@pytest.mark.parametrize(
    ("file", "text", "cores"), [("cpu.max", "50000 100000", 0.5), ("cpu.max", "max 100000", None), ("none", "", None)]
)
def test_cores_of_the_container(tmp_path: Path, file: str, text: str, cores: float | None) -> None:
    (tmp_path / file).write_text(text)
    assert machine.cores(tmp_path) == (cores or machine.cores(Path("/nonexistent")))


def test_the_accelerator_is_named(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"000{number}").mkdir()
        (tmp_path / f"000{number}" / "information").write_text("Model: \t\t NVIDIA L4\nIRQ: 1\n")
    assert machine.accelerator(tmp_path) == "2 x NVIDIA L4"
    assert machine.accelerator(tmp_path / "none") == ""
