"""The grid, fair turns, and numbers that fit."""

import json
import random
import string
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import helper

from onnxmodel_runtime import machine
from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, BenchmarkResult, Candidate, Environment, Point
from onnxmodel_runtime.contract.outcome import TERMINATION_BYTES, Outcome, decode, encode
from onnxmodel_runtime.contract.providers import Providers, ProviderUse
from onnxmodel_runtime.contract.validate import ValidateRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.measuring import groups, profiler
from onnxmodel_runtime.measuring.profiler import Operator
from onnxmodel_runtime.measuring.windows import STABLE, Spread, Window
from onnxmodel_runtime.models import probefile
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.reporting import report
from onnxmodel_runtime.sandbox import parent
from onnxmodel_runtime.sandbox.termination import fit
from onnxmodel_runtime.stages import apart
from onnxmodel_runtime.stages import benchmark as module
from onnxmodel_runtime.stages.benchmark import MAX_POINTS, benchmark
from onnxmodel_runtime.stages.culprit import REASON_CHARACTERS, without
from onnxmodel_runtime.stats import percentile, significant
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


def test_a_model_of_one_size_is_measured_as_it_is(tmp_path: Path) -> None:
    request = BenchmarkRequest((candidate("a", models.mlp(batch=2), tmp_path),), "", concurrency=(1,), seconds=0.01)
    result = benchmark(request)
    assert ({point.batch_size for point in result.points}, result.batch) == ({1}, "None"), "inferences, and no rows"


@pytest.mark.parametrize("length", [16, "length"])
def test_the_length_of_a_vector_is_no_batch_size(length: int | str, tmp_path: Path) -> None:
    """Where it is dynamic, only running the model tells."""
    node = helper.make_node("CumSum", ["x", "axis"], ["y"])
    made = models.model([node], [("x", 1, [length])], [("y", 1, [length])], {"axis": np.array(0)})
    request = BenchmarkRequest((candidate("a", made, tmp_path),), "", concurrency=(1,), seconds=0.01)
    assert {point.batch_size for point in benchmark(request).points} == {1}


def test_another_model_is_refused(tmp_path: Path) -> None:
    """It is no variant that failed: leaving it out would answer another question than was asked."""
    one, other = candidate("a", models.mlp(), tmp_path), candidate("b", models.transformer(), tmp_path)
    with pytest.raises(StageError, match="CandidatesDiffer: b is not the same model as a") as caught:
        apart.run("benchmark", BenchmarkRequest((one, other), "", (1,), (1,), 0.01))
    assert "only one of them has input 'tokens'" in caught.value.failure.message


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
    assert "fp32 cannot be loaded" in result.left_out["fp32"]
    assert "sha256" in result.left_out["fused"]


def crasher(name: str, directory: Path) -> Candidate:
    """Its process dies of SIGFPE when ONNX Runtime loads it."""
    return candidate(name, models.divides_by_zero(), directory)


def test_a_variant_that_kills_the_process_does_not_cost_the_original(tmp_path: Path) -> None:
    """A real crash. Those that are loaded after it are measured all the same."""
    candidates = (
        candidate("original", models.mlp(), tmp_path),
        crasher("fused", tmp_path),
        candidate("fp32", models.mlp(), tmp_path),
    )
    out = tmp_path / "out"
    request = BenchmarkRequest(candidates, "", (1,), (1,), seconds=0.01, directory=str(out))
    result = apart.run("benchmark", request)
    assert isinstance(result, BenchmarkResult)
    assert {point.variant for point in result.points} == {"original", "fp32"}
    assert set(result.left_out) == {"fused"}
    assert "was terminated by SIGFPE while loading fused" in result.left_out["fused"]
    assert "was terminated by SIGFPE" in (out / "report.html").read_text()


def test_an_original_that_kills_the_process_ends_the_stage(tmp_path: Path) -> None:
    probe = tmp_path / "probe.npz"
    probefile.write(probe, {"x": np.zeros((1, 4, 2, 2), np.float32)}, {})
    candidates = (crasher("original", tmp_path), candidate("fp32", models.mlp(), tmp_path))
    with pytest.raises(StageError, match="SIGFPE while loading original") as caught:
        apart.run("benchmark", BenchmarkRequest(candidates, str(probe), (1,), (1,), seconds=0.01))
    assert caught.value.failure.reason == "NativeCrash"


CRASH = StageError("NativeCrash", "it died", "")


@pytest.mark.parametrize(
    ("error", "suspect", "left_out"),
    [
        (CRASH, "int8", {"int8": "it died"}),
        (CRASH, "static int8", {"static int8": "it died"}),
        (CRASH, "original", None),
        (CRASH, "fp32", None),  # was left out already: something else is wrong
        (CRASH, "", None),
        (StageError("Interrupted", "stopped", "", retry=True), "int8", None),
        (parent.InternalError("a defect"), "int8", None),
    ],
)
def test_who_ended_the_benchmark(error: Exception, suspect: str, left_out: dict[str, str] | None) -> None:
    names = ("original", "fp32", "int8", "static int8")
    request = BenchmarkRequest(tuple(Candidate(name, "", "") for name in names), "", left_out={"fp32": "it crashed"})
    smaller = without(request, error, suspect)
    assert (smaller and smaller.left_out) == (left_out and {"fp32": "it crashed", **left_out})


def test_other_stages_have_no_candidates() -> None:
    assert without(ValidateRequest("model"), CRASH, "int8") is None


@pytest.mark.parametrize(
    ("available", "expected"), [(0, ["ab", "ac", "ad"]), (1 << 40, ["abcd"])], ids=["small", "large"]
)
def test_no_more_are_loaded_than_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: int, expected: list[str]
) -> None:
    """Two at a time where memory is small; and what was measured is gone before the next comes."""
    opened: list[weakref.ref[Any]] = []
    groups_seen: list[str] = []
    point = module._point

    def counted(*args: Any, **options: Any) -> Any:
        loaded = open_session(*args, **options)
        opened.append(weakref.ref(loaded.session))
        return loaded

    def spied(loaded: list[Any], *rest: Any) -> Any:
        alive = sum(session() is not None for session in opened)
        assert alive == sum(len(item.sessions) for item in loaded)
        groups_seen.append("".join(item.candidate.name for item in loaded))
        return point(loaded, *rest)

    monkeypatch.setattr(module, "_start", lambda _: None)
    monkeypatch.setattr(module, "available_bytes", lambda: available)
    monkeypatch.setattr(module, "open_session", counted)
    monkeypatch.setattr(module, "_point", spied)
    candidates = tuple(candidate(name, models.mlp(), tmp_path) for name in "abcd")
    result = benchmark(BenchmarkRequest(candidates, "", (1,), (1,), seconds=0.001, windows=1, instances=2))
    assert groups_seen == expected
    assert [point.variant for point in result.points] == list("abcd")
    assert set(result.memory_bytes) == set("abcd")


def test_memory_that_runs_out_beside_others_may_do_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's memory is not known beforehand. Alone with the original, "c" fits; "d" does not even then."""
    load, loaded = module._load, []

    def short(given: Candidate, *rest: Any) -> Any:
        others = [item for item in loaded[1:] if item.sessions]
        if given.name == "d" or (given.name == "c" and others):
            raise RuntimeError("CUDA failure 2: out of memory")
        loaded.append(load(given, *rest))
        return loaded[-1]

    monkeypatch.setattr(module, "_load", short)
    candidates = tuple(candidate(name, models.mlp(), tmp_path) for name in "abcd")
    result = benchmark(BenchmarkRequest(candidates, "", (1,), (1,), seconds=0.001, windows=1))
    assert [point.variant for point in result.points] == list("abc")
    assert result.left_out == {"d": "memory ran out: CUDA failure 2: out of memory"}


@pytest.mark.parametrize(
    ("file_bytes", "instances", "original", "resident", "available", "fits"),
    [
        (100, 1, 0, 500, 1000, True),  # 500 + 300 of 800
        (101, 1, 0, 500, 1000, False),
        (50, 2, 0, 500, 1000, True),
        (51, 2, 0, 500, 1000, False),
        (1, 1, 300, 500, 1000, True),  # activations are the original's
        (1, 1, 301, 500, 1000, False),
    ],
)
def test_what_fits(file_bytes: int, instances: int, original: int, resident: int, available: int, fits: bool) -> None:
    assert groups.fits(file_bytes, instances, original, resident, available) is fits


def test_a_later_group_is_told_as_if_it_had_been_in_the_first() -> None:
    """The machine is half as fast in the second group, for the original and "b" alike."""

    def numbers(variant: str, slower: float, *, noisy: bool = False) -> groups.Numbers:
        point = Point(
            variant,
            8,
            4,
            p50=10 * slower,
            p95=30 * slower,
            p99=40 * slower,
            throughput=800 / slower,
            samples=9,
            p90=20 * slower,
            noisy=noisy,
        )
        return point, Spread(variant, 8, 4, 3, (10 * slower, 40 * slower))

    first = [numbers("original", 1), numbers("a", 0.5)]
    assert groups.joined([first], "original") == first
    joined = groups.joined([first, [numbers("original", 2, noisy=True), numbers("b", 1)]], "original")
    assert joined == [*first, numbers("b", 0.5, noisy=True)]


def test_a_candidate_that_fails_is_named(tmp_path: Path) -> None:
    named = candidate("int8", models.hidden_batch(), tmp_path)
    request = BenchmarkRequest((named,), "", batch_sizes=(3,), batch="First")
    with pytest.raises(StageError, match="int8 cannot run with 3 rows"):
        benchmark(request)


@pytest.mark.parametrize(
    ("callers", "instances", "runs_per_answer"), [(1, 1, 1), (4, 1, 4), (4, 2, 2), (2, 2, 1), (1, 4, 1)]
)
def test_waiting_for_an_instance_is_latency(callers: int, instances: int, runs_per_answer: int) -> None:
    """With more callers than instances each answer takes as many runs as there are callers before it."""
    work = 0.01
    session: Any = SimpleNamespace(run=lambda *_: time.sleep(work))
    loaded = module._Prepared(Candidate("a", "", ""), [session] * instances, ProviderUse("CPU", 100.0), -1, 0.0)
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
        module._Prepared(Candidate(name, "", ""), [session], ProviderUse("CPU", 100.0), -1, 0.0) for name in ("a", "b")
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
    """The second of two equal models finds what the first left, and the large one's peak is gone when the small one loads.

    In a child process, as the Job runs it: what earlier tests left in this one would be returned while it measures.
    """
    large = candidate("large", models.mlp(hidden=500_000), tmp_path)  # 14 MB of weights
    small = candidate("small", models.mlp(), tmp_path)
    again = Candidate("again", large.path, large.sha256)
    request = BenchmarkRequest((large, small, again), "", (1,), (1,), seconds=0.001, windows=1)
    result = apart.run("benchmark", request)
    assert isinstance(result, BenchmarkResult)
    memory = result.memory_bytes
    assert memory["large"] > 14_000_000
    assert memory["small"] < 7_000_000
    assert memory["again"] == pytest.approx(memory["large"], rel=0.5)


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


@pytest.mark.parametrize(("count", "left_out"), [(64, 0), (MAX_POINTS, 0), (16, 6), (80, 2), (96, 1)])
def test_the_largest_grid_fits_a_termination_message(count: int, left_out: int) -> None:
    """With numbers that do not compress: noise in every digit. The largest loses a digit of each, and no point."""
    noise = random.Random(1)
    names = ["original", "fp32", "fused", "fp16", "int8-dynamic", "int8-static", "ort"]
    missing, names = names[7 - left_out :], names[: 7 - left_out]
    points = tuple(
        Point(
            names[i % len(names)],
            1 << (i // (4 * len(names))),
            1 << (i // len(names) % 4),
            **{name: significant(noise.uniform(1, 1000)) for name in ("p50", "p95", "p99", "throughput")},
            samples=noise.randrange(1, 100_000),
            p90=significant(noise.uniform(1, 1000)),
            noisy=noise.random() < 0.5,
            spread=noise.randrange(60),
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
        {name: "".join(noise.choices(string.ascii_letters, k=REASON_CHARACTERS)) for name in missing},
    )
    message = fit(Outcome("benchmark", 123.456, result))
    assert len(message) < TERMINATION_BYTES * 0.93
    sent = decode(message).result
    assert isinstance(sent, BenchmarkResult)
    assert (sent == result) is (count <= 64)
    assert sent.left_out == result.left_out
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
