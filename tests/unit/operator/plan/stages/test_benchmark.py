from dataclasses import replace
from typing import Any

import pytest

from dev.results import benchmarked, optimized, points
from onnxmodel_operator import names
from onnxmodel_operator.plan.stages import benchmark
from onnxmodel_operator.plan.values import Advance, State
from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, Candidate, Point
from onnxmodel_runtime.contract.optimize import Variant
from onnxmodel_runtime.contract.stages import Stage
from tests.contexts import advanced, at, context, observed, stopped

MEASURED = {
    "p50Milliseconds": 1.0,
    "p95Milliseconds": 1.0,
    "p99Milliseconds": 1.0,
    "throughputPerSecond": 900.0,
    "batchSize": 8,
    "concurrency": 4,
}


@pytest.mark.parametrize(
    ("spec", "field", "expected"),
    [
        ({"benchmark": {"batchSizes": [8, 1, 8]}}, "batch_sizes", (1, 8)),
        ({"benchmark": {"concurrency": [4, 2]}}, "concurrency", (2, 4)),
        ({"benchmark": {"attempt": 3}}, "attempt", 3),
        ({"serving": {"instances": 2}}, "instances", 2),
        ({}, "name", "magika"),
        ({}, "namespace", "team-a"),
    ],
)
def test_what_is_asked(spec: dict[str, Any], field: str, expected: Any) -> None:
    assert getattr(benchmark.ask(at(Stage.BENCHMARK, context(**spec))).request, field) == expected


@pytest.mark.parametrize(("parity", "names"), [(True, ["original", "fp32"]), (False, ["original"])])
def test_what_passed_parity_is_measured(parity: bool, names: list[str]) -> None:
    made = optimized(parity=parity)
    made = replace(made, variants=(*made.variants, Variant("fp16", skipped="why")))
    request = benchmark.ask(at(Stage.BENCHMARK, optimize=made)).request
    assert [candidate.name for candidate in request.candidates] == names
    assert (request.probe, request.optimized) == (
        "/artifacts/optimize/o/probe.npz",
        "/artifacts/optimize/o/report.json",
    )


@pytest.mark.parametrize(
    ("constraints", "gate", "missed"),
    [
        ({}, "Enforce", ()),
        ({"p99Milliseconds": 5}, "Enforce", ()),
        ({"p99Milliseconds": 1}, "Enforce", ("p99 is 4 ms, the limit (p99Milliseconds) is 1",)),
        ({"p99Milliseconds": 1}, "Warn", ("p99 is 4 ms, the limit (p99Milliseconds) is 1",)),
    ],
)
def test_the_winner_must_meet_the_constraints(constraints: Any, gate: str, missed: tuple[str, ...]) -> None:
    known = at(Stage.LOADTEST, context(benchmark={"constraints": constraints, "gate": "Warn"}))
    known = replace(known, model=context(benchmark={"constraints": constraints, "gate": gate}).model)
    found = benchmark.gate(known, benchmarked())
    assert found.context.chosen.winner.variant.name == "fp32"
    assert found.context.chosen.winner.missed == missed
    if missed and gate == "Enforce":
        progress = stopped(found).progress
        assert (progress.state, progress.reason) == (State.STALLED, "ConstraintsNotMet")
        assert progress.message == f"no variant meets the constraints; the best is fp32: {missed[0]}"
        assert progress.trouble is not None
        assert progress.trouble.failure.field == "spec.benchmark.constraints"
    else:
        assert isinstance(found, Advance)


def _status(*, benchmark: str = "another", **blocks: Any) -> dict[str, Any]:
    revision = {"revision": "old", "variant": "fp32", "sha256": "b" * 64, "time": "t", "benchmark": benchmark}
    return {name: {**revision, **block} for name, block in blocks.items()}


@pytest.mark.parametrize(
    ("block", "against"),
    [
        ({"active": {"measured": MEASURED, "measuredOn": "here"}}, "old"),
        ({"active": {"measured": MEASURED}}, None),
        ({"active": {"revision": "gone", "measured": MEASURED, "measuredOn": "here"}}, None),
        ({"target": {"measured": MEASURED, "measuredOn": "here"}}, None),
        ({}, None),
    ],
)
def test_the_winner_is_compared_with_what_serves(block: Any, against: str | None) -> None:
    known = at(Stage.LOADTEST, context(observed(records={"old": {}}, status=_status(**block))))
    choice = advanced(benchmark.gate(known, benchmarked())).chosen
    assert (choice.against.revision if choice.against else None) == against


def test_a_result_that_was_decided_on_stays_compared_with_what_it_was_then() -> None:
    known = at(Stage.LOADTEST)
    digest = names.short(known.step(Stage.BENCHMARK).digest)
    then = {"revision": "older", "measured": MEASURED, "measuredOn": "there"}
    for block in ("target", "active"):
        status = _status(benchmark=digest, **{block: {"against": then, "measured": MEASURED, "measuredOn": "here"}})
        seen = observed(records={"old": {}}, status=status)
        choice = advanced(benchmark.gate(replace(known, seen=seen), benchmarked())).chosen
        assert choice.against is not None
        assert (choice.against.revision, choice.against.where) == ("older", "there"), block


BOTH = BenchmarkRequest((Candidate("original", "", ""), Candidate("fp32", "", "")), "")


def _with(**changes: Any) -> tuple[Point, ...]:
    return (replace(points("original", p50=4.0)[0], **changes), *points("original", p50=4.0)[1:])


@pytest.mark.parametrize(
    ("measured", "wrong"),
    [
        (points("original", p50=4.0) + points("fp32", p50=2.0), None),
        (points("original", p50=4.0), None),
        (points("fp32", p50=2.0), "fp32 was not measured at the same points as the original"),
        ((), "the original was not measured"),
        (
            points("original", p50=4.0) + points("fp32", p50=2.0)[1:],
            "fp32 was not measured at the same points as the original",
        ),
        (_with(p90=0.0), None),
        (_with(p50=0.0), "a measurement is not a positive number"),
        (_with(throughput=float("inf")), "a measurement is not a positive number"),
    ],
)
def test_what_is_believed(measured: tuple[Point, ...], wrong: str | None) -> None:
    assert benchmark.believe(BOTH, replace(benchmarked(), points=measured)) == wrong


def test_odd_sizes_are_not_believed() -> None:
    assert "it has more than 64 sizes, or one that is not from 1" in str(
        benchmark.believe(BOTH, replace(benchmarked(), sizes={"n": 0}))
    )
