"""The status of a model, from what was decided and observed. Pure: `now` is used only where something changed.

The contract is kstatus': Ready is always there, Reconciling and Stalled only while True and never both, and Ready=True
means this generation. docs/status.md says it for users.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from onnxmodel_operator import figures, names
from onnxmodel_operator.api.resource import Resource
from onnxmodel_operator.api.spec.optimization import VARIANTS
from onnxmodel_operator.api.status import (
    AgainstStatus,
    BatchingStatus,
    BenchmarkStatus,
    Condition,
    FailureStatus,
    FindingStatus,
    Measured,
    ModelStatus,
    OnnxModelStatus,
    ParityStatus,
    RevisionStatus,
    ServingStatus,
    StageStatus,
    TensorStatus,
    VariantStatus,
)
from onnxmodel_operator.observe import Observed, RevisionSeen
from onnxmodel_operator.observe.memory import Memory
from onnxmodel_operator.plan import Plan, Progress, State, Step, serve_request
from onnxmodel_operator.selection import Choice, Numbers, Verdict, where
from onnxmodel_runtime.contract.benchmark import BenchmarkResult
from onnxmodel_runtime.contract.model import BATCH_FIRST, BATCH_NONE, Tensor
from onnxmodel_runtime.contract.optimize import OptimizeResult
from onnxmodel_runtime.contract.probe import ProbeResult
from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.contract.stages import STAGES, Stage
from onnxmodel_runtime.contract.text import in_words
from onnxmodel_runtime.contract.validate import ValidateResult
from onnxmodel_runtime.contract.volume import REPORT_PAGE

_RECORDS = 3  # successes kept of each stage: this one, and those to go back to
_HISTORY = 5
_FINDINGS = 20
_CONDITION_OF = {stage: spec.condition for stage, spec in STAGES.items() if spec.condition}


def summarize(model: Resource, seen: Observed, plan: Plan, now: datetime) -> dict[str, Any]:
    """The whole status as plain data. Equal to the stored one when nothing changed."""
    old = seen.memory
    target = _target(plan, old, now)
    active = _active(seen, plan, target, old, now)
    status = OnnxModelStatus(
        observed_generation=model.generation,
        phase=plan.progress.phase,
        reason=plan.progress.reason[:253],
        message=plan.progress.message[:2048],
        conditions=_conditions(model.generation, seen, plan, old, now),
        model=_model(plan),
        findings=_findings(plan, old),
        variants=_variants(plan.choice) if plan.choice else None,
        benchmark=_benchmark(plan),
        serving=_serving(model, seen, (active, target)),
        active=active,
        target=target,
        history=_history(old, active),
        last_failure=_failure(model.generation, seen, plan.progress, old, now),
        stages=_stages(plan, old),
    )
    return (status if plan.steps else _keeping(old, status)).dump()


def excused(model: Resource, seen: Observed, progress: Progress, now: datetime) -> dict[str, Any]:
    """The status as it is, and why it is not what it should be: nobody knows what else the API server takes.

    Why a Job failed that is still there stays: its pods may be gone, and nothing else remembers.
    """
    old = seen.memory
    conditions = _common(model.generation, progress, old, now)
    kinds = {State.READY, State.RECONCILING, State.STALLED}
    kept = [condition for condition in old.conditions if condition.type not in kinds]
    remembers = any(old.failure_of(job.name) and job.state != "Succeeded" for job in seen.jobs.values())
    failure = None if remembers else _failure(model.generation, seen, progress, old, now)
    told = {
        "observed_generation": model.generation,
        "phase": progress.phase,
        "reason": progress.reason[:253],
        "message": progress.message[:2048],
        "conditions": sorted([*conditions, *kept], key=lambda condition: condition.type),
        "last_failure": failure or old.failure,
    }
    return old.stored.model_copy(update=told).dump()


def _keeping(old: Memory, status: OnnxModelStatus) -> OnnxModelStatus:
    """The status with the facts from before: the model is suspended, or its spec cannot be worked on."""
    facts = ("model", "findings", "variants", "benchmark", "stages", "target")
    missing = [name for name in facts if getattr(status, name) is None]
    return status.model_copy(update={name: getattr(old.stored, name) for name in missing})


# ---- conditions ------------------------------------------------------------------------------------------------------


def _conditions(generation: int, seen: Observed, plan: Plan, old: Memory, now: datetime) -> list[Condition]:
    out = _common(generation, plan.progress, old, now)
    for stage, kind in _CONDITION_OF.items():
        previous = old.condition(kind)
        if not plan.steps and previous:
            # Nothing is worked on: what was found out stays, and so does the generation that it is about.
            out.append(previous)
            continue
        step = next((step for step in plan.steps if step.stage is stage), None)
        status, reason, message = _stage_condition(step, plan)
        out.append(_condition(kind, status, reason, message, generation, old, now))
    serving = _served(seen)
    available = serving is not None and serving.available > 0
    text = f"revision {serving.revision} takes traffic" if serving and available else "nothing takes traffic"
    out.append(
        _condition("Available", str(available), "Serving" if available else "NotServing", text, generation, old, now)
    )
    return sorted(out, key=lambda condition: condition.type)


def _common(generation: int, progress: Progress, old: Memory, now: datetime) -> list[Condition]:
    ready = progress.state is State.READY
    out = [_condition("Ready", str(ready), progress.reason, progress.message, generation, old, now)]
    if progress.state in (State.RECONCILING, State.STALLED):
        out.append(_condition(progress.state, "True", progress.reason, progress.message, generation, old, now))
    return out


def _stage_condition(step: Step | None, plan: Plan) -> tuple[str, str, str]:
    if step is None:
        return "Unknown", "Pending", "an earlier stage comes first"
    if step.state == "Succeeded":
        if step.stage is Stage.BENCHMARK and plan.choice and plan.choice.winner.missed:
            return "False", "ConstraintsNotMet", "; ".join(plan.choice.winner.missed)
        return "True", "Succeeded", _stage_message(step, plan)
    if step.state == "Failed":
        return "False", plan.progress.reason, plan.progress.message
    return "Unknown", plan.progress.reason, plan.progress.message


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _stage_message(step: Step, plan: Plan) -> str:
    match step.outcome.result if step.outcome else None:
        case ValidateResult(findings=findings):
            counts = {kind: sum(f.severity == kind for f in findings) for kind in ("error", "warning")}
            said = " and ".join(_count(counts[kind], kind) for kind in counts)
            return said if any(counts.values()) else "no findings"
        case OptimizeResult(variants=variants, lowered=lowered, unbatched=unbatched):
            told = f"{_count(sum(bool(v.path) for v in variants), 'candidate')}, the original included"
            axis = f"no batch axis: {unbatched}" if unbatched else ""
            return "; ".join(part for part in (told, lowered, axis) if part)
        case BenchmarkResult():
            return plan.choice.sentence if plan.choice else ""
        case _:
            return ""


def _condition(
    kind: str, status: str, reason: str, message: str, generation: int, old: Memory, now: datetime
) -> Condition:
    previous = old.condition(kind)
    flipped = previous is None or previous.status != status
    return Condition(
        type=kind,
        status=status,
        reason=reason[:128],
        message=message[:2048],
        observed_generation=generation,
        last_transition_time=_time(now) if flipped or previous is None else previous.last_transition_time,
    )


# ---- facts -----------------------------------------------------------------------------------------------------------


def _model(plan: Plan) -> ModelStatus | None:
    result: ValidateResult | None = plan.result(Stage.VALIDATE)
    if result is None:
        return None
    facts = result.model
    optimized: OptimizeResult | None = plan.result(Stage.OPTIMIZE)
    return ModelStatus(
        sha256=facts.sha256,
        bytes=facts.bytes,
        ir_version=facts.ir_version,
        opset=facts.opset,
        producer=facts.producer[:253],
        nodes=facts.nodes,
        parameters=facts.parameters,
        inputs=_tensors(facts.inputs),
        outputs=_tensors(facts.outputs),
        uri=result.uri[:2048],
        signer=result.signer[:253] or None,
        batch=optimized.batch if optimized and optimized.batch in (BATCH_FIRST, BATCH_NONE) else None,
        unbatched=(optimized.unbatched[:2048] or None) if optimized else None,
    )


def _tensors(tensors: tuple[Tensor, ...]) -> list[TensorStatus]:
    return [TensorStatus(name=t.name[:253], datatype=t.datatype, shape=list(t.shape)[:16]) for t in tensors[:64]]


def _findings(plan: Plan, old: Memory) -> list[FindingStatus] | None:
    """Of the model that was found good, or of the one that was refused: then its pod told, or status remembers."""
    step = next((step for step in plan.steps if step.stage is Stage.VALIDATE), None)
    if step is None:
        return None
    result: ValidateResult | None = plan.result(Stage.VALIDATE)
    found = result.findings if result else step.seen.ended.findings if step.seen and step.seen.ended else ()
    if result is None and step.seen and step.state == "Failed" and not step.seen.pods:
        return list(old.findings) or None
    if not found:
        return None
    return [
        FindingStatus(
            id=f.id[:253],
            severity=f.severity if f.severity in ("error", "info") else "warning",
            target=f.target[:253],
            message=f.message[:2048],
            fix=f.fix[:2048],
        )
        for f in found[:_FINDINGS]
    ]


def _variants(choice: Choice) -> list[VariantStatus]:
    original = choice.verdicts[0].variant.bytes  # the original comes first
    return [_variant(verdict, original) for verdict in choice.verdicts]


def _variant(verdict: Verdict, original: int) -> VariantStatus:
    variant, parity = verdict.variant, verdict.variant.parity
    return VariantStatus(
        name=variant.name,
        sha256=variant.sha256 or None,
        bytes=variant.bytes or None,
        nodes=variant.nodes or None,
        saved_percent=round((1 - variant.bytes / original) * 100, 1) if original and variant.bytes else None,
        graph_level=variant.graph_level[:253] if variant.path else None,
        parity=ParityStatus(
            passed=parity.passed,
            max_absolute=parity.max_absolute,
            max_relative=parity.max_relative,
            cosine=parity.cosine,
            output=parity.output[:253],
            batch_sizes=list(parity.batch_sizes),
            top1=parity.top1,
        )
        if parity
        else None,
        measured=_measured(verdict.numbers) if verdict.numbers else None,
        satisfies_constraints=not verdict.missed if verdict.numbers else None,
        selected=verdict.selected,
        reason=verdict.reason[:2048],
    )


def _measured(numbers: Numbers) -> Measured:
    return Measured(
        p50_milliseconds=numbers.p50,
        p90_milliseconds=numbers.p90 or None,
        p95_milliseconds=numbers.p95,
        p99_milliseconds=numbers.p99,
        throughput_per_second=numbers.throughput,
        batch_size=numbers.batch_size,
        concurrency=numbers.concurrency,
        noisy=numbers.noisy or None,
    )


def _benchmark(plan: Plan) -> BenchmarkStatus | None:
    choice: Choice | None = plan.choice
    result: BenchmarkResult | None = plan.result(Stage.BENCHMARK)
    if choice is None or result is None or choice.winner.numbers is None:
        return None
    machine = result.environment
    step = next(step for step in plan.steps if step.stage is Stage.BENCHMARK)
    return BenchmarkStatus(
        variant=choice.winner.variant.name,
        speedup=round(choice.speedup, 3),
        reason=choice.sentence[:2048],
        framework=choice.framework,
        framework_speedup=choice.framework_speedup,
        report=f"{step.request.directory}/{REPORT_PAGE}"[:253] if step.request.directory else None,
        winner=_measured(choice.winner.numbers),
        baseline=_measured(choice.baseline),
        sizes={name[:253]: size for name, size in list(result.sizes.items())[:64]} or None,
        processor=machine.processor[:253],
        accelerator=machine.accelerator[:253],
        cores=machine.cores,
        versions={key[:64]: value[:253] for key, value in list(machine.versions.items())[:16]},
    )


# ---- what serves -----------------------------------------------------------------------------------------------------


def _served(seen: Observed) -> RevisionSeen | None:
    """The Deployment that the Service selects."""
    return seen.revisions.get(seen.routed or "")


def _serving(
    model: Resource, seen: Observed, proven: tuple[RevisionStatus | None, RevisionStatus | None]
) -> ServingStatus | None:
    """What the Service selects, with the figures that were recorded of that revision, whatever is being proven."""
    served = _served(seen)
    if served is None:
        return None
    host = f"{model.name}.{model.namespace}.svc"
    selector = f"{names.LABEL_MODEL}={model.name},{names.LABEL_REVISION}={served.revision}"
    record = _recorded(served.revision, proven, seen.memory)
    return ServingStatus(
        url=f"http://{host}:8000",
        grpc=f"{host}:8001",
        metrics=f"http://{host}:8002/metrics",
        revision=served.revision,
        runtime=served.runtime,
        variant=record.variant if record else None,
        provider=record.provider if record else None,
        provider_share_percent=record.provider_share_percent if record else None,
        opset=record.opset if record else None,
        source_sha256=record.source_sha256 if record else None,
        p99=figures.milliseconds(record.served.p99_milliseconds) if record and record.served else None,
        throughput=figures.rate(record.served.throughput_per_second) if record and record.served else None,
        batching=record.batching if record else None,
        sizes=record.sizes if record else None,
        replicas=served.wanted,
        ready_replicas=served.ready,
        ready=f"{served.ready}/{served.wanted}",
        selector=selector,
    )


def _recorded(
    revision: str, proven: tuple[RevisionStatus | None, RevisionStatus | None], old: Memory
) -> RevisionStatus | None:
    """What is known of a revision: from this turn, or from what status remembers."""
    return _first(revision, proven) or old.revision(revision)


def _first(revision: str, blocks: Iterable[RevisionStatus | None]) -> RevisionStatus | None:
    """The first block of status that is of this revision."""
    return next((block for block in blocks if block and block.revision == revision), None)


def _target(plan: Plan, old: Memory, now: datetime) -> RevisionStatus | None:
    return _revision(plan, old, old.target, now) if plan.revision else None


def _active(
    seen: Observed, plan: Plan, target: RevisionStatus | None, old: Memory, now: datetime
) -> RevisionStatus | None:
    if plan.progress.state is State.READY:
        return target if old.active == old.target else _revision(plan, old, old.active, now)
    if plan.active and not old.proven:
        return _recovered(seen, plan.active, now)
    return old.active if old.active and old.active.revision == plan.active else None


def _recovered(seen: Observed, revision: str, now: datetime) -> RevisionStatus:
    """What its children tell of a revision that serves, and that a lost status forgot: the next turn would take it for
    unproven. Its figures come back with its stages.
    """
    there = seen.revisions.get(revision)
    request = serve_request(seen, revision)
    folder = PurePosixPath(request.get("model", "")).parent.name
    return RevisionStatus(
        revision=revision,
        variant=folder if folder in VARIANTS else "original",  # which stays where it was fetched
        sha256=request.get("sha256", ""),
        runtime=there.runtime if there else None,
        time=_time(now),
    )


def _as_measured(plan: Plan) -> ProviderUse | None:
    """Triton does not tell its provider: what ran the variant in the benchmark, with the same providers on the same pool."""
    result: BenchmarkResult | None = plan.result(Stage.BENCHMARK)
    assert plan.choice is not None
    return result.uses.get(plan.choice.winner.variant.name, result.provider) if result else None


def _revision(plan: Plan, old: Memory, block: RevisionStatus | None, now: datetime) -> RevisionStatus | None:
    """The revision that the spec asks for, as this block of status tells it.

    What the load test and the probe found out stays while the same revision is looked at, though this turn did not get so
    far: a pod that is away makes nothing of it untrue.
    """
    if plan.revision is None or plan.choice is None:
        return None
    step = next(step for step in plan.steps if step.stage is Stage.BENCHMARK)
    before = _first(plan.revision.short, (block, old.target, old.active))
    same = before if before and before.benchmark == names.short(step.digest) else None
    validated: ValidateResult | None = plan.result(Stage.VALIDATE)
    probe: ProbeResult | None = plan.result(Stage.PROBE)
    use = (probe.provider or _as_measured(plan)) if probe else None
    found = {
        "time": block.time if block and block.revision == plan.revision.short else _time(now),
        "source_sha256": validated.model.sha256 if validated else None,
        "opset": validated.model.opset if validated else None,
        "runtime": "triton" if plan.revision.triton else "onnxruntime",
        "provider": use.name if use else before.provider if before else None,
        "provider_share_percent": round(use.share_percent, 1) if use else before and before.provider_share_percent,
        "batching": _batching(probe) or (before.batching if before else None),
        "served": _measured(plan.choice.served) if plan.choice.served else same and same.served,
        "missed": _missed(plan.choice),
    }
    if same:
        return same.model_copy(update=found)
    variant, against = plan.choice.winner.variant, plan.choice.against
    result: BenchmarkResult | None = plan.result(Stage.BENCHMARK)
    return RevisionStatus(
        revision=plan.revision.short,
        variant=variant.name,
        sha256=variant.sha256,
        benchmark=names.short(step.digest),
        against=AgainstStatus(revision=against.revision, measured=_measured(against.numbers), measured_on=against.where)
        if against
        else None,
        measured=_measured(plan.choice.winner.numbers) if plan.choice.winner.numbers else None,
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


def _history(old: Memory, active: RevisionStatus | None) -> list[RevisionStatus] | None:
    """Revisions that were active, newest first. The active one joins when it is replaced; one that only went away for a
    while is not there twice.
    """
    history, before = list(old.history), old.active
    if before and (active is None or before.revision != active.revision):
        returned = bool(history) and history[0].revision == before.revision
        history = [before, *history[returned:]]
    return history[:_HISTORY] or None


# ---- troubles and stages ---------------------------------------------------------------------------------------------


def _failure(generation: int, seen: Observed, progress: Progress, old: Memory, now: datetime) -> FailureStatus | None:
    """What goes wrong now; else the last failure, while it is of this spec and its Job is there to be looked at."""
    if progress.state is State.READY:
        return None
    previous = old.failure
    trouble = progress.trouble
    if trouble is None:
        jobs = {job.name for job in seen.jobs.values() if job.state != "Succeeded"}
        stays = previous and old.generation == generation and (not previous.job or previous.job in jobs)
        return previous if stays else None
    failure = FailureStatus(
        stage=trouble.stage,
        reason=trouble.failure.reason[:253],
        message=trouble.failure.message[:2048],
        hint=trouble.failure.hint[:2048],
        field=trouble.failure.field[:253] or None,
        exit_code=trouble.exit_code,
        job=trouble.job,
        attempts=trouble.attempts or None,
        time=_time(now),
    )
    if previous and failure.model_copy(update={"time": previous.time}) == previous:
        return previous
    return failure


def _stages(plan: Plan, old: Memory) -> list[StageStatus] | None:
    """The chain's stages first, then older successes, so that going back to an earlier spec runs nothing again."""
    known = {(item.name, item.digest): item for item in old.successes}
    current = [_current(step, known.get((step.stage, step.digest))) for step in plan.steps]
    chain = {(item.name, item.digest) for item in current}
    count = {item.name: 1 for item in current}
    older = []
    for item in old.successes:
        if (item.name, item.digest) not in chain:
            count[item.name] = count.get(item.name, 0) + 1
            if count[item.name] <= _RECORDS:
                older.append(item)
    return [*current, *older] or None


def _current(step: Step, stored: StageStatus | None) -> StageStatus:
    """What is stored, while it is what was decided upon: its times are of the run that made it."""
    return stored if stored and stored.result == step.record else _stage(step)


def _stage(step: Step) -> StageStatus:
    seen = step.seen
    return StageStatus(
        name=step.stage,
        digest=step.digest,
        state=step.state,
        job=step.job,
        start_time=seen.start_time if seen else None,
        completion_time=seen.completion_time if seen else None,
        seconds=round(step.outcome.seconds, 3) if step.outcome else None,
        directory=getattr(step.request, "directory", None),
        result=step.record,
    )


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
