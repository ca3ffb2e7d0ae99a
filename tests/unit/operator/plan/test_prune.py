"""What is deleted, when, and which folders stay."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dev.results import validated
from onnxmodel_operator.observe import JobSeen
from onnxmodel_operator.plan import prune
from onnxmodel_operator.plan.rollout import traffic
from onnxmodel_operator.plan.values import Context, Step, Stop, going
from onnxmodel_runtime.contract.stages import Stage
from tests.builders import START
from tests.contexts import at, context, ended, job, observed, succeeded, walk

GOING = going("Validating", "Validating", "it goes on")
STEP = walk(context()).context.steps[0]


def _at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _stop(*jobs: JobSeen, steps: tuple[Step, ...] = (STEP,), again: float | None = None, **fields: Any) -> Stop:
    live = tuple(("Job", job.name) for job in jobs)
    return Stop(replace(context(observed(*jobs, live=live, **fields)), steps=steps), GOING, again=again)


def other(state: str = "Running", stage: Stage = Stage.VALIDATE, **fields: Any) -> JobSeen:
    """A Job that no step asks for."""
    return job(replace(STEP, stage=stage, digest="other", job="other"), state, **fields)


@pytest.mark.parametrize(
    ("seen", "gone", "again"),
    [
        (job(STEP), False, None),
        (other(), True, None),
        (other("Failed", ended=ended()), True, None),
        (other("Succeeded", completion_time=_at(0)), True, None),
        (other(stage=Stage.PROBE), True, None),
        (other("Succeeded", Stage.PROBE, completion_time=_at(-60)), False, 3540.0),
        (other("Succeeded", Stage.PROBE, completion_time=_at(-3600)), True, None),
        (other("Succeeded", Stage.PROBE), False, None),
    ],
)
def test_jobs_of_another_chain_go(seen: JobSeen, gone: bool, again: float | None) -> None:
    stop = _stop(seen)
    assert prune.superfluous(stop) == ((("Job", seen.name),) if gone else ())
    assert prune.again(stop) == again


@pytest.mark.parametrize(
    ("fields", "recorded", "gone", "again"),
    [
        ({"completion_time": _at(-60)}, True, False, 3540.0),
        ({"completion_time": _at(-3600)}, True, True, None),
        ({"completion_time": _at(-3600)}, False, False, None),
        ({"state": "Running", "kept_alive_by": "proxy"}, True, True, None),
        ({"state": "Running"}, True, False, None),
    ],
)
def test_a_job_goes_when_its_result_is_in_status_and_its_log_is_old(
    fields: dict[str, Any], recorded: bool, gone: bool, again: float | None
) -> None:
    seen = replace(succeeded(STEP, validated()), **fields)
    record = {"name": "validate", "digest": STEP.digest, "state": "Succeeded", "job": STEP.job, "result": seen.message}
    stop = _stop(seen, steps=(replace(STEP, seen=seen),), status={"stages": [record]} if recorded else {})
    assert prune.superfluous(stop) == ((("Job", STEP.job),) if gone else ())
    assert prune.again(stop) == again


@pytest.mark.parametrize(("again", "expected"), [(None, 3540.0), (5.0, 5.0), (9999.0, 3540.0)])
def test_the_next_look_is_the_earlier_one(again: float | None, expected: float) -> None:
    assert prune.again(_stop(other("Succeeded", Stage.PROBE, completion_time=_at(-60)), again=again)) == expected


CHILDREN = tuple(
    (kind, f"magika-{name}") for kind in ("Deployment", "ControllerRevision") for name in ("old", "new", "else")
)
SERVICES = (("Service", "magika"), ("Service", "magika-new"))


def _serving(active: str | None, taken_by: str | None, *, tested: bool = False) -> Stop:
    known = at(Stage.LOADTEST)
    target = replace(known.target, digest="new", name="magika-new")
    seen = replace(known.seen, live={child: {} for child in (*CHILDREN, *SERVICES)}, jobs={})
    wanted = replace(STEP, stage=Stage.LOADTEST) if tested else None
    known = replace(known, seen=seen, revision=target, active=active, traffic=traffic.to(taken_by))
    return Stop(known, GOING, wanted)


@pytest.mark.parametrize(
    ("active", "taken_by", "gone"),
    [("old", "old", {"else"}), ("old", "new", {"else"}), ("else", "old", set()), (None, None, {"old", "else"})],
)
def test_revisions_that_neither_serve_nor_shall_go(active: str | None, taken_by: str | None, gone: set[str]) -> None:
    found = {(kind, name) for kind, name in prune.superfluous(_serving(active, taken_by)) if kind != "Service"}
    assert found == {(kind, f"magika-{name}") for kind in ("Deployment", "ControllerRevision") for name in gone}


@pytest.mark.parametrize("tested", [True, False])
def test_the_service_of_a_load_test_goes_with_it(tested: bool) -> None:
    gone = [child for child in prune.superfluous(_serving("old", "old", tested=tested)) if child[0] == "Service"]
    assert gone == ([] if tested else [("Service", "magika-new")])


def test_what_a_look_calls_superfluous_goes_if_it_is_there() -> None:
    stop = replace(_stop(job(STEP)), superfluous=(("Job", STEP.job), ("Service", "magika")))
    assert prune.superfluous(stop) == (("Job", STEP.job),)


def test_nothing_goes_before_there_is_a_volume() -> None:
    stop = _stop(other(), claim_uid=None, again=7.0)
    assert (prune.superfluous(stop), prune.again(stop)) == ((), 7.0)


def _folder(kind: str, digit: str) -> str:
    return f"{kind}/{digit * 16}"


def _pod(path: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"args": [f'{{"model":"{path}"}}']}]}}}}


def test_folders_stay_that_anything_needs() -> None:
    stages = [
        {
            "name": "optimize",
            "digest": "d",
            "job": "j",
            "state": state,
            "directory": f"/artifacts/{_folder('optimize', digit)}",
        }
        for state, digit in (("Succeeded", "a"), ("Running", "b"))
    ]
    served = {("Deployment", "one"): _pod(f"/artifacts/{_folder('optimize', 'c')}/fp32/model.onnx"),
              ("ControllerRevision", "two"): {"data": _pod(f"/artifacts/{_folder('source', 'd')}/model.onnx")},
              ("Job", "three"): _pod(f"/artifacts/{_folder('source', 'e')}")}  # fmt: skip
    known: Context = context(replace(observed(status={"stages": stages}), live=served))
    source = STEP.request.directory.removeprefix("/artifacts/")
    expected = [_folder("optimize", "a"), _folder("optimize", "c"), _folder("source", "d"), source]
    assert prune.needed_folders(replace(known, steps=(STEP,))) == tuple(sorted(expected))
