from dataclasses import replace

import pytest

from dev.results import points
from onnxmodel_operator.plan.stages import loadtest
from onnxmodel_operator.plan.values import Advance, State
from onnxmodel_runtime.contract.loadtest import Load, LoadTestRequest, LoadTestResult
from onnxmodel_runtime.contract.stages import Stage
from tests.contexts import at, context, stopped

LOADS = (Load(1, 1), Load(8, 4))
GRID = tuple((load.batch_size, load.concurrency) for load in LOADS)
REQUEST = LoadTestRequest("magika", "host", "probe", LOADS, variant="fp32")


def test_the_winner_is_asked_where_its_figures_are_from() -> None:
    known = at(Stage.LOADTEST)
    asked = loadtest.ask(known)
    assert (asked.request.variant, asked.request.loads) == ("fp32", LOADS)
    assert asked.request.host == f"{known.target.name}.team-a.svc"
    assert asked.request.revision == known.target.short


def test_the_digest_covers_the_server_and_not_the_client() -> None:
    known = at(Stage.LOADTEST, context(serving={"nodePool": "a100"}))
    asked = loadtest.ask(known)
    assert (asked.placement, asked.covers) == (None, known.platform.server)
    assert asked.depends_on == known.target.digest


@pytest.mark.parametrize(
    ("p99", "gate", "stops"), [(1000.0, "Enforce", False), (4.5, "Enforce", True), (4.5, "Warn", False)]
)
def test_the_winner_must_meet_the_constraints_as_it_is_served(p99: float, gate: str, stops: bool) -> None:
    known = at(Stage.LOADTEST, context(benchmark={"constraints": {"p99Milliseconds": p99}, "gate": gate}))
    found = loadtest.gate(known, LoadTestResult(points("fp32", p50=2.5, throughput=800.0, grid=GRID)))
    assert found.context.chosen.served is not None
    assert found.context.chosen.served.p50 == 2.5
    if stops:
        progress = stopped(found).progress
        assert (progress.state, progress.reason) == (State.STALLED, "ConstraintsNotMet")
        assert progress.message.startswith(f"revision {known.target.short} does not meet the constraints: as served, ")
    else:
        assert isinstance(found, Advance)


@pytest.mark.parametrize(
    ("result", "wrong"),
    [
        (points("fp32", p50=2.5, grid=GRID), None),
        (points("original", p50=2.5, grid=GRID), "it is not for the requested loads"),
        (points("fp32", p50=2.5, grid=GRID[:1]), "it is not for the requested loads"),
        (points("fp32", p50=2.5, grid=GRID[::-1]), "it is not for the requested loads"),
        (
            tuple(replace(p, p99=0.0) for p in points("fp32", p50=2.5, grid=GRID)),
            "a measurement is not a positive number",
        ),
    ],
)
def test_what_is_believed(result: object, wrong: str | None) -> None:
    assert loadtest.believe(REQUEST, LoadTestResult(result)) == wrong  # type: ignore[arg-type]
