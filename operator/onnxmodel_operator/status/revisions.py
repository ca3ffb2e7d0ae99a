"""Fill status.target, active and history: the proven facts of each revision."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePosixPath

from onnxmodel_operator import names
from onnxmodel_operator.api.spec.optimization import VARIANTS
from onnxmodel_operator.api.status import AgainstStatus, BatchingStatus, RevisionStatus
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.observe.memory import Memory
from onnxmodel_operator.plan.rollout.active import serve_request
from onnxmodel_operator.plan.values import Plan, State
from onnxmodel_operator.selection import Choice, where
from onnxmodel_operator.status.facts import measured_status
from onnxmodel_operator.times import format_time
from onnxmodel_runtime.contract.benchmark import BenchmarkResult
from onnxmodel_runtime.contract.probe import ProbeResult
from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.text import in_words
from onnxmodel_runtime.contract.validate import ValidateResult

_HISTORY = 5


def target_status(plan: Plan, old: Memory, now: datetime) -> RevisionStatus | None:
    """Return the revision that the spec asks for, proven or not."""
    return _describe(plan, old, old.target, now) if plan.revision else None


def active_status(
    seen: Observed, plan: Plan, target: RevisionStatus | None, old: Memory, now: datetime
) -> RevisionStatus | None:
    """Return the revision that was proven last, while it exists."""
    if plan.progress.state is State.READY:
        return target if old.active == old.target else _describe(plan, old, old.active, now)
    if plan.active and not old.proven:
        return _recovered(seen, plan.active, now)
    return old.active if old.active and old.active.revision == plan.active else None


def _recovered(seen: Observed, revision: str, now: datetime) -> RevisionStatus:
    """Rebuild the record of a revision from its children, where it serves although the status was lost.

    Without a record, the next turn would take it for unproven. Its figures come back with its stages.
    """
    there = seen.revisions.get(revision)
    request = serve_request(seen, revision)
    folder = PurePosixPath(request.get("model", "")).parent.name
    return RevisionStatus(
        revision=revision,
        variant=folder if folder in VARIANTS else "original",  # which stays where it was fetched
        sha256=request.get("sha256", ""),
        runtime=there.runtime if there else None,
        time=format_time(now),
    )


def _as_measured(plan: Plan) -> ProviderUse | None:
    """The provider of the benchmark, for Triton, which does not report one: it runs with the same providers and pool."""
    result = plan.result(BenchmarkResult)
    assert plan.choice is not None
    return result.uses.get(plan.choice.winner.variant.name, result.provider) if result else None


def _describe(plan: Plan, old: Memory, block: RevisionStatus | None, now: datetime) -> RevisionStatus | None:
    """The revision that the spec asks for, continuing this block of status.

    Results of the load test and the probe stay while the revision is the same, even if this turn did not get so far: a
    missing pod invalidates nothing.
    """
    if plan.revision is None or plan.choice is None:
        return None
    step = next(step for step in plan.steps if step.stage is Stage.BENCHMARK)
    before = _first(plan.revision.short, (block, old.target, old.active))
    same = before if before and before.benchmark == names.short(step.digest) else None
    validated = plan.result(ValidateResult)
    probe = plan.result(ProbeResult)
    use = (probe.provider or _as_measured(plan)) if probe else None
    found = {
        "time": block.time if block and block.revision == plan.revision.short else format_time(now),
        "source_sha256": validated.model.sha256 if validated else None,
        "opset": validated.model.opset if validated else None,
        "runtime": "triton" if plan.revision.triton else "onnxruntime",
        "provider": use.name if use else before.provider if before else None,
        "provider_share_percent": round(use.share_percent, 1) if use else before and before.provider_share_percent,
        "batching": _batching(probe) or (before.batching if before else None),
        "served": measured_status(plan.choice.served) if plan.choice.served else same and same.served,
        "missed": _missed(plan.choice),
        "capacity": plan.choice.capacity if plan.choice.served else same and same.capacity,
        "images": plan.images,
    }
    if same:
        return same.model_copy(update=found)
    variant, against = plan.choice.winner.variant, plan.choice.against
    result = plan.result(BenchmarkResult)
    return RevisionStatus(
        revision=plan.revision.short,
        variant=variant.name,
        sha256=variant.sha256,
        benchmark=names.short(step.digest),
        against=AgainstStatus(
            revision=against.revision, measured=measured_status(against.numbers), measured_on=against.where
        )
        if against
        else None,
        measured=measured_status(plan.choice.winner.numbers) if plan.choice.winner.numbers else None,
        measured_on=where(result) if result else None,
        sizes=(in_words(result.sizes)[:253] or None) if result else None,
        **found,
    )


def _batching(probe: ProbeResult | None) -> BatchingStatus | None:
    if probe is None or probe.unjoined is None:
        return None
    return BatchingStatus(joined=not probe.unjoined, reason=probe.unjoined[:2048] or None)


def _missed(choice: Choice) -> str | None:
    return "; ".join(choice.winner.missed)[:2048] or None


def history_statuses(old: Memory, active: RevisionStatus | None) -> list[RevisionStatus] | None:
    """Return the revisions that were active, newest first.

    The active one is added when it is replaced. One that only went away for a while is not added twice.
    """
    history, before = list(old.history), old.active
    if before and (active is None or before.revision != active.revision):
        returned = bool(history) and history[0].revision == before.revision
        history = [before, *history[returned:]]
    return history[:_HISTORY] or None


def recorded(
    revision: str, proven: tuple[RevisionStatus | None, RevisionStatus | None], old: Memory
) -> RevisionStatus | None:
    """Return the record of a revision, from this turn or else from status. None if neither has one."""
    return _first(revision, proven) or old.revision(revision)


def _first(revision: str, blocks: Iterable[RevisionStatus | None]) -> RevisionStatus | None:
    """The first block of status that is of this revision."""
    return next((block for block in blocks if block and block.revision == revision), None)
