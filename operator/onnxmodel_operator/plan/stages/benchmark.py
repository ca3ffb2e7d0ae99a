"""Measure each candidate where it will serve, and choose the winner."""

from dataclasses import replace
from pathlib import PurePosixPath

from onnxmodel_operator import names, selection
from onnxmodel_operator.api.status import AgainstStatus, RevisionStatus
from onnxmodel_operator.plan.gate import unmet
from onnxmodel_operator.plan.results import odd_numbers, odd_sizes
from onnxmodel_operator.plan.rollout.active import exists
from onnxmodel_operator.plan.rollout.orders import to_measure
from onnxmodel_operator.plan.values import Advance, Ask, Context, Stop
from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, BenchmarkResult, Candidate
from onnxmodel_runtime.contract.optimize import ORIGINAL, OptimizeResult
from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.volume import REPORT_FILE

STAGE = Stage.BENCHMARK


def ask(context: Context) -> Ask:
    """Ask for measurements of every variant with the original's outputs, over the spec's grid."""
    model, spec = context.model, context.model.spec.benchmark
    optimized = context.result(OptimizeResult)
    request = BenchmarkRequest(
        candidates=tuple(
            Candidate(v.name, v.path, v.sha256, v.graph_level, v.data_sha256)
            for v in optimized.variants
            if selection.candidate(v)
        ),
        probe=optimized.probe,
        batch_sizes=tuple(sorted(set(spec.batch_sizes))),
        concurrency=tuple(sorted(set(spec.concurrency))),
        instances=model.spec.serving.instances,
        providers=context.platform.providers,
        optimized=f"{PurePosixPath(optimized.probe).parent}/{REPORT_FILE}",
        attempt=spec.attempt,
        batch=optimized.batch,
        namespace=model.namespace,
        name=model.name,
    )
    return Ask(request, order=to_measure(context))


def gate(context: Context, result: BenchmarkResult) -> Advance | Stop:
    """Choose the winner, which must meet the constraints."""
    spec = context.model.spec
    joining = spec.serving.batching.max_queue_delay_microseconds > 0
    optimized, against = context.result(OptimizeResult), _serving(context)
    choice = selection.choose(spec.benchmark, optimized, result, against, joining=joining)
    context = replace(context, choice=choice)
    return unmet(
        context, STAGE, f"no variant meets the constraints; the best is {choice.winner.variant.name}"
    ) or Advance(context)


def believe(request: BenchmarkRequest, result: BenchmarkResult) -> str | None:
    """Expect figures of the original, and of each other candidate at the same points or at none."""
    if wrong := odd_sizes(result.sizes):
        return wrong
    measured = {
        c.name: {(point.batch_size, point.concurrency) for point in result.points if point.variant == c.name}
        for c in request.candidates
    }
    # Not the whole grid: a model without a batch axis runs at its own size alone.
    for name, points in measured.items():
        # A variant that could not be measured is none; the original is what the others are measured against.
        if points != measured[ORIGINAL] and (points or name == ORIGINAL):
            return f"{name} was not measured at the same points as the original"
    if not measured.get(ORIGINAL):
        return "the original was not measured"
    return odd_numbers(result.points)


def _serving(context: Context) -> selection.Incumbent | None:
    """The figures of the active revision, as status remembers them.

    A result that was decided on before is compared with what it was compared with then: the choice would change by being made.
    """
    memory, digest = context.seen.memory, names.short(context.step(STAGE).digest)
    for record in (memory.target, memory.active):
        if record and record.benchmark == digest:
            return _remembered(record.against)
    return _remembered(memory.active) if memory.active and exists(context.seen, memory.active.revision) else None


def _remembered(record: AgainstStatus | RevisionStatus | None) -> selection.Incumbent | None:
    if record is None or record.measured is None or record.measured_on is None:
        return None
    return selection.Incumbent(record.revision, selection.remembered(record.measured), record.measured_on)
