"""What each block of status says, for a plan, what was observed and what status remembers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dev.results import benchmarked, optimized, probed, validated
from onnxmodel_operator.api.resource import parse
from onnxmodel_operator.api.spec.benchmark import Benchmark
from onnxmodel_operator.api.status import (
    Condition,
    FailureStatus,
    FindingStatus,
    Measured,
    OnnxModelStatus,
    RevisionStatus,
)
from onnxmodel_operator.observe import Ended, JobSeen, Observed, RevisionSeen
from onnxmodel_operator.observe.memory import Memory
from onnxmodel_operator.plan.values import Plan, Progress, Revision, State, Step, Trouble
from onnxmodel_operator.selection import choose
from onnxmodel_operator.status import excused, summarize
from onnxmodel_operator.status.conditions import conditions
from onnxmodel_operator.status.facts import finding_statuses, model_status, variant_statuses
from onnxmodel_operator.status.failure import failure_status
from onnxmodel_operator.status.revisions import active_status, history_statuses, target_status
from onnxmodel_operator.status.serving import serving_status
from onnxmodel_operator.times import format_time
from onnxmodel_runtime.contract.outcome import Failure, Outcome
from onnxmodel_runtime.contract.probe import ProbeResult
from onnxmodel_runtime.contract.providers import Providers, ProviderUse
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.contract.stages import STAGES, Stage
from onnxmodel_runtime.contract.validate import Finding
from tests.builders import SETTINGS, Cluster, body

NOW = datetime(2026, 1, 2, tzinfo=UTC)
BEFORE = "2026-01-01T00:00:00Z"
MODEL = parse(body("m"))
READY = Progress(State.READY, "Ready", "Ready", "fp32 serves")
BUSY = Progress(State.RECONCILING, "Optimizing", "Optimizing", "Job j runs")
REFUSED = Failure("OpsetTooLow", "opset is 9", "Export again.", "source")
FAILED = Progress(State.STALLED, "Failed", "OpsetTooLow", "opset is 9", Trouble("validate", REFUSED, 10, "j", 1))
FINDING = Finding("OpsetTooLow", "error", "model", "opset is 9", "Export again.")
RESULTS: dict[Stage, Any] = {Stage.VALIDATE: validated(), Stage.OPTIMIZE: optimized(), Stage.BENCHMARK: benchmarked()}


class Request:
    directory = "/artifacts/benchmark/b"


def step(stage, result=None, *, seen=None):
    """A stage of the chain, done where it has a result."""
    outcome = Outcome(stage, 1.0, result) if result else None
    return Step(stage, f"{stage}-digest", f"{stage}-job", Request(), SETTINGS.defaults, outcome=outcome, seen=seen)


def job(*, name="j", state="Failed", ended=None, pods=1):
    return JobSeen(name, "validate", "d", state, BEFORE, None, None, None, ended, 1, None, pods)


def steps(*stages, **results):
    return tuple(step(stage, {**RESULTS, **results}.get(stage)) for stage in stages)


MEASURED = steps(Stage.VALIDATE, Stage.OPTIMIZE, Stage.BENCHMARK)
CHOICE = choose(Benchmark(), optimized(), benchmarked())


def revision(digest="r2", *, triton=""):
    request = ServeRequest(
        name="m", model="/artifacts/optimize/o/fp32/model.onnx", sha256="b" * 64, probe="", providers=Providers()
    )
    return Revision(digest, f"m-{digest}", request, SETTINGS.defaults, 1, "uid-claim", triton=triton)


def plan(progress=BUSY, *, done=MEASURED, **given):
    return Plan(progress, steps=done, **given)


def proven(progress=READY, *, done=MEASURED, triton="", **given):
    """A plan that has come to its revision."""
    return plan(progress, done=done, choice=CHOICE, revision=revision(triton=triton), **given)


def seen(*jobs, serving=None, available=1, memory=None):
    """What is observed. serving: the revision that the Service selects."""
    there = RevisionSeen(f"m-{serving}", serving, 2, available, available, True, False, None, None, "triton")
    return Observed(
        claim_uid="uid-claim",
        claim_leaves=False,
        jobs={(item.stage, item.name): item for item in jobs},
        revisions={serving: there} if serving else {},
        routed=serving,
        live={},
        memory=memory or Memory(),
    )


def known(name="r1", **fields):
    """A revision as status remembers it."""
    return RevisionStatus(revision=name, variant="fp32", sha256="b" * 64, time=BEFORE, **fields)


def measured(p99=4.0):
    return Measured(
        p50_milliseconds=1,
        p95_milliseconds=2,
        p99_milliseconds=p99,
        throughput_per_second=1234.5,
        batch_size=8,
        concurrency=4,
    )


# ---- conditions ------------------------------------------------------------------------------------------------------


def told(found):
    return {item.type: (item.status, item.reason) for item in found}


def test_the_condition_of_each_stage_says_what_came_of_it():
    cluster = Cluster(body())
    cluster.live()
    found = [cluster.condition(row.condition) for row in STAGES.values() if row.condition]
    assert [(item["status"], bool(item["message"])) for item in found] == [("True", True)] * len(found)


PENDING = ("Unknown", "Pending")


def model(generation):
    return parse(body(generation=generation))


@pytest.mark.parametrize(
    ("made", "there", "expected"),
    [
        pytest.param(
            plan(done=steps(Stage.VALIDATE) + steps(Stage.OPTIMIZE, optimize=None)),
            seen(),
            {
                "Ready": ("False", "Optimizing"),
                "Reconciling": ("True", "Optimizing"),
                "Validated": ("True", "Succeeded"),
                "Optimized": ("Unknown", "Optimizing"),
                "Benchmarked": PENDING,
                "Available": ("False", "NotServing"),
            },
            id="a stage runs",
        ),
        pytest.param(
            plan(FAILED, done=(step(Stage.VALIDATE, seen=job()),)),
            seen(),
            {
                "Ready": ("False", "OpsetTooLow"),
                "Stalled": ("True", "OpsetTooLow"),
                "Validated": ("False", "OpsetTooLow"),
                "Optimized": PENDING,
                "Benchmarked": PENDING,
                "Available": ("False", "NotServing"),
            },
            id="a stage failed",
        ),
        pytest.param(
            proven(),
            seen(serving="r2"),
            {
                "Ready": ("True", "Ready"),
                "Validated": ("True", "Succeeded"),
                "Optimized": ("True", "Succeeded"),
                "Benchmarked": ("True", "Succeeded"),
                "Available": ("True", "Serving"),
            },
            id="it serves",
        ),
        pytest.param(
            plan(BUSY, choice=replace(CHOICE, winner=replace(CHOICE.winner, missed=("p99 is 8 ms",)))),
            seen(serving="r2", available=0),
            {
                "Ready": ("False", "Optimizing"),
                "Reconciling": ("True", "Optimizing"),
                "Validated": ("True", "Succeeded"),
                "Optimized": ("True", "Succeeded"),
                "Benchmarked": ("False", "ConstraintsNotMet"),
                "Available": ("False", "NotServing"),
            },
            id="constraints are missed",
        ),
        pytest.param(
            plan(replace(BUSY, state=State.SUSPENDED, reason="Suspended"), done=()),
            seen(),
            {
                "Ready": ("False", "Suspended"),
                "Validated": PENDING,
                "Optimized": PENDING,
                "Benchmarked": PENDING,
                "Available": ("False", "NotServing"),
            },
            id="suspended before it was worked on",
        ),
    ],
)
def test_conditions(made, there, expected):
    found = conditions(model(3), there, made, Memory(), NOW)
    assert told(found) == expected
    assert [item.type for item in found] == sorted(expected)
    assert {item.observed_generation for item in found} == {3}


@pytest.mark.parametrize(
    ("status", "time"), [("False", BEFORE), ("True", format_time(NOW)), ("Unknown", format_time(NOW))]
)
def test_a_condition_keeps_its_time_until_its_status_flips(status, time):
    old = Condition(type="Ready", status=status, reason="Else", last_transition_time=BEFORE, observed_generation=1)
    found = conditions(model(2), seen(), plan(), Memory(conditions=(old,)), NOW)
    assert next(item.last_transition_time for item in found if item.type == "Ready") == time


def test_while_nothing_is_worked_on_what_was_found_out_stays_with_its_generation():
    old = Condition(
        type="Validated", status="True", reason="Succeeded", last_transition_time=BEFORE, observed_generation=1
    )
    found = conditions(model(2), seen(), plan(done=()), Memory(conditions=(old,)), NOW)
    assert old in found


@pytest.mark.parametrize(
    ("stage", "result", "message"),
    [
        ("validate", {"findings": ()}, "no findings"),
        ("validate", {"findings": (FINDING,)}, "1 error and 0 warnings"),
        ("validate", {"findings": (replace(FINDING, severity="warning"),) * 2}, "0 errors and 2 warnings"),
        ("validate", {"findings": (replace(FINDING, severity="info"),)}, "no findings"),
        ("optimize", {}, "2 candidates, including the original"),
        ("optimize", {"lowered": "Basic is used"}, "2 candidates, including the original; Basic is used"),
        ("optimize", {"unbatched": "x"}, "2 candidates, including the original; no batch axis: x"),
    ],
)
def test_what_a_stage_that_succeeded_says(stage, result, message):
    done = step(Stage(stage), replace(RESULTS[Stage(stage)], **result))
    found = conditions(model(1), seen(), plan(done=(done,)), Memory(), NOW)
    kind = {"validate": "Validated", "optimize": "Optimized"}[stage]
    assert next(item.message for item in found if item.type == kind) == message


# ---- facts -----------------------------------------------------------------------------------------------------------


def test_the_model_is_told_once_it_is_validated():
    assert model_status(plan(done=steps(Stage.VALIDATE, validate=None))) is None
    facts = model_status(plan(done=steps(Stage.VALIDATE)))
    assert facts is not None
    assert (facts.opset, facts.batch, facts.unbatched, facts.signer) == (17, None, None, None)
    batched = (
        step(Stage.VALIDATE, validated()),
        step(Stage.OPTIMIZE, replace(optimized(), batch="None", unbatched="x")),
    )
    facts = model_status(plan(done=batched))
    assert facts is not None
    assert (facts.batch, facts.unbatched) == ("None", "x")


OLD = FindingStatus(id="Old", severity="error", target="t", message="m", fix="f")
REFUSAL = Ended(REFUSED, 10, BEFORE, True, (FINDING,))


@pytest.mark.parametrize(
    ("validate", "remembered", "found"),
    [
        pytest.param(None, (OLD,), None, id="it was not looked at"),
        pytest.param(step(Stage.VALIDATE, validated()), (OLD,), None, id="nothing was found"),
        pytest.param(
            step(Stage.VALIDATE, replace(validated(), findings=(FINDING,))), (OLD,), ["OpsetTooLow"], id="found good"
        ),
        pytest.param(step(Stage.VALIDATE, seen=job(ended=REFUSAL)), (OLD,), ["OpsetTooLow"], id="its pod told"),
        pytest.param(step(Stage.VALIDATE, seen=job(ended=REFUSAL, pods=0)), (OLD,), ["Old"], id="status remembers"),
        pytest.param(step(Stage.VALIDATE, seen=job(pods=0)), (), None, id="nobody knows"),
        pytest.param(step(Stage.VALIDATE, seen=job(state="Running")), (OLD,), None, id="it runs"),
        pytest.param(
            step(Stage.VALIDATE, replace(validated(), findings=(replace(FINDING, severity="odd"),) * 30)),
            (),
            ["OpsetTooLow"] * 20,
            id="no more than status holds",
        ),
    ],
)
def test_findings(validate, remembered, found):
    statuses = finding_statuses(plan(done=(validate,) if validate else ()), Memory(findings=remembered))
    assert (statuses and [item.id for item in statuses]) == found


def test_variants_are_told_with_what_they_save_and_why_they_serve_or_not():
    original, fp32 = variant_statuses(CHOICE)
    assert (original.name, original.saved_percent, original.selected, original.parity) == ("original", 0.0, False, None)
    assert (fp32.name, fp32.saved_percent, fp32.selected, fp32.satisfies_constraints) == ("fp32", 10.0, True, True)


# ---- the last failure ------------------------------------------------------------------------------------------------

LAST = FailureStatus(
    stage="validate",
    reason="OpsetTooLow",
    message="opset is 9",
    hint="Export again.",
    field="source",
    exit_code=10,
    job="j",
    attempts=1,
    time=BEFORE,
)


@pytest.mark.parametrize(
    ("progress", "jobs", "memory", "time"),
    [
        pytest.param(READY, [], Memory(failure=LAST, generation=1), None, id="all is well"),
        pytest.param(BUSY, [], Memory(), None, id="nothing went wrong"),
        pytest.param(FAILED, [], Memory(), format_time(NOW), id="it goes wrong"),
        pytest.param(FAILED, [], Memory(failure=LAST), BEFORE, id="it still goes wrong"),
        pytest.param(
            FAILED,
            [],
            Memory(failure=LAST.model_copy(update={"attempts": 2})),
            format_time(NOW),
            id="it goes wrong again",
        ),
        pytest.param(BUSY, [job()], Memory(failure=LAST, generation=1), BEFORE, id="its Job can be looked at"),
        pytest.param(BUSY, [job(state="Succeeded")], Memory(failure=LAST, generation=1), None, id="its Job succeeded"),
        pytest.param(BUSY, [], Memory(failure=LAST, generation=1), None, id="its Job is gone"),
        pytest.param(BUSY, [job()], Memory(failure=LAST, generation=0), None, id="it was of another spec"),
        pytest.param(
            BUSY, [], Memory(failure=LAST.model_copy(update={"job": None}), generation=1), BEFORE, id="it had no Job"
        ),
    ],
)
def test_the_last_failure(progress, jobs, memory, time):
    found = failure_status(1, seen(*jobs), progress, memory, NOW)
    assert (found and found.time) == time


# ---- revisions -------------------------------------------------------------------------------------------------------


def test_a_target_has_what_was_measured_and_what_it_was_compared_with():
    found = target_status(proven(BUSY), Memory(), NOW)
    assert found is not None
    assert (found.revision, found.variant, found.runtime, found.time) == ("r2", "fp32", "onnxruntime", format_time(NOW))
    assert (found.opset, found.source_sha256, found.provider, found.served) == (17, "a" * 64, None, None)
    assert found.measured is not None
    assert target_status(plan(), Memory(), NOW) is None


def test_what_was_found_out_of_a_revision_stays_while_it_is_the_same():
    digest = "benchmark-digest"[:12]
    found = target_status(proven(BUSY), Memory(), NOW)
    assert found is not None
    old = found.model_copy(update={"provider": "CUDA", "served": measured(), "time": BEFORE})
    again = target_status(proven(BUSY), Memory(target=old), NOW + timedelta(days=1))
    assert again == old
    other = old.model_copy(update={"benchmark": f"{digest}-of-before"})
    again = target_status(proven(BUSY), Memory(target=other), NOW)
    assert again is not None
    assert (again.provider, again.served, again.time) == ("CUDA", None, BEFORE), "it was measured anew"


@pytest.mark.parametrize(
    ("probe", "triton", "provider"),
    [
        (probed(), "", ("CPU", 100.0)),
        (replace(probed(), provider=ProviderUse("CUDA", 99.96)), "", ("CUDA", 100.0)),
        (ProbeResult(3.0, 2.0, 0.0, None), "triton:1", ("CPU", 100.0)),
        (None, "", (None, None)),
    ],
)
def test_the_provider_is_what_the_server_told_or_else_what_the_benchmark_used(probe, triton, provider):
    done = (*MEASURED, step(Stage.PROBE, probe))
    found = target_status(proven(BUSY, done=done, triton=triton), Memory(), NOW)
    assert found is not None
    assert (found.provider, found.provider_share_percent) == provider


@pytest.mark.parametrize(
    ("made", "memory", "active"),
    [
        pytest.param(proven(), Memory(), "r2", id="just proven"),
        pytest.param(proven(BUSY, active="r1"), Memory(active=known()), "r1", id="another is being proven"),
        pytest.param(proven(BUSY), Memory(active=known()), None, id="it is gone"),
        pytest.param(proven(BUSY, active="r0"), Memory(active=known()), None, id="another one serves"),
        pytest.param(proven(BUSY, active="r1"), Memory(), "r1", id="status was lost"),
        pytest.param(proven(BUSY, active="r1"), Memory(history=(known("r0"),)), None, id="it never was active"),
    ],
)
def test_which_revision_is_active(made, memory, active):
    found = active_status(seen(), made, target_status(made, memory, NOW), memory, NOW)
    assert (found and found.revision) == active


@pytest.mark.parametrize(
    ("before", "history", "active", "found"),
    [
        (None, (), "r1", None),
        ("r1", (), "r1", None),
        ("r1", (), "r2", ["r1"]),
        ("r1", (), None, ["r1"]),
        ("r2", ("r1",), "r3", ["r2", "r1"]),
        ("r2", ("r2", "r1"), "r3", ["r2", "r1"]),
        ("r6", ("r5", "r4", "r3", "r2", "r1"), "r7", ["r6", "r5", "r4", "r3", "r2"]),
    ],
)
def test_history(before, history, active, found):
    memory = Memory(active=known(before) if before else None, history=tuple(map(known, history)))
    statuses = history_statuses(memory, known(active) if active else None)
    assert (statuses and [item.revision for item in statuses]) == found


# ---- what serves -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "proven_now", "figures"),
    [
        (Memory(), (None, None), (None, None, None)),
        (Memory(active=known(served=measured())), (None, None), ("fp32", "4ms", "1,230/s")),
        (Memory(history=(known(served=measured(4321)),)), (None, None), ("fp32", "4.32s", "1,230/s")),
        (Memory(), (known(provider="CUDA"), None), ("fp32", None, None)),
        (Memory(active=known("r0", served=measured())), (None, None), (None, None, None)),
    ],
)
def test_what_serves_has_the_figures_of_its_own_revision(memory, proven_now, figures):
    found = serving_status(MODEL, seen(serving="r1", memory=memory), proven_now)
    assert found is not None
    assert (found.variant, found.p99, found.throughput) == figures
    assert (found.revision, found.runtime, found.ready, found.replicas) == ("r1", "triton", "1/2", 2)
    assert (found.url, found.grpc) == ("http://m.team-a.svc:8000", "m.team-a.svc:8001")


def test_without_a_service_nothing_serves():
    assert serving_status(MODEL, seen(), (known(), None)) is None


# ---- the whole -------------------------------------------------------------------------------------------------------


def test_facts_stay_while_nothing_is_worked_on():
    before = OnnxModelStatus.model_validate(summarize(MODEL, seen(), proven(BUSY), NOW))
    memory = Memory(stored=before, target=before.target)
    after = summarize(MODEL, seen(memory=memory), plan(done=()), NOW)
    assert after["model"] == before.dump()["model"]
    assert after["variants"] == before.dump()["variants"]
    assert after["target"] == before.dump()["target"]
    worked = summarize(MODEL, seen(memory=memory), plan(done=steps(Stage.VALIDATE, validate=None)), NOW)
    assert {"model", "variants", "target"}.isdisjoint(worked)


@pytest.mark.parametrize(("jobs", "reason"), [([job()], "OpsetTooLow"), ([], "StatusRefused")])
def test_a_status_that_is_refused_says_so_and_keeps_the_rest(jobs, reason):
    failure = Failure("StatusRefused", "no", "Apply the CRD.")
    refused = Progress(State.STALLED, "Failed", "StatusRefused", "no", Trouble("status", failure))
    condition = Condition(
        type="Available", status="True", reason="S", last_transition_time=BEFORE, observed_generation=1
    )
    stored = OnnxModelStatus(phase="Ready", active=known(), conditions=[condition], last_failure=LAST)
    memory = Memory(stored=stored, conditions=(condition,), failure=LAST)
    found = excused(MODEL, seen(*jobs, memory=memory), refused, NOW)
    assert (found["phase"], found["reason"], found["active"]["revision"]) == ("Failed", "StatusRefused", "r1")
    assert [item["type"] for item in found["conditions"]] == ["Available", "Ready", "Stalled"]
    assert found["lastFailure"]["reason"] == reason, "why a Job failed that is there is told by nobody else"
