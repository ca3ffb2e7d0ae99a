"""Measure one replica of the revision as a client of its server, and prove its answers."""

from dataclasses import replace

from onnxmodel_operator import selection
from onnxmodel_operator.plan.gate import unmet
from onnxmodel_operator.plan.results import odd_numbers
from onnxmodel_operator.plan.rollout.orders import to_measure
from onnxmodel_operator.plan.values import Advance, Ask, Context, Stop
from onnxmodel_runtime.contract.benchmark import BenchmarkResult
from onnxmodel_runtime.contract.loadtest import LoadTestRequest, LoadTestResult
from onnxmodel_runtime.contract.stages import Stage

STAGE = Stage.LOADTEST


def ask(context: Context) -> Ask:
    """Ask for measurements of the revision's own Service at the loads at which the winner's figures were measured."""
    model, revision, winner = context.model, context.target, context.chosen.winner
    assert winner.numbers is not None
    request = LoadTestRequest(
        name=model.name,
        host=f"{revision.name}.{model.namespace}.svc",
        probe=revision.request.probe,
        loads=selection.loads(
            winner.numbers, context.result(BenchmarkResult).points, winner.variant.name, _within(context)
        ),
        tolerance=revision.request.tolerance,
        max_batch_size=revision.request.max_batch_size,
        variant=winner.variant.name,
        revision=revision.short,
        attempt=model.spec.benchmark.attempt,
        batch=revision.request.batch,
        unjoined=revision.request.unjoined,
    )
    # No digest covers the client's resources: when the platform changes them, no server is asked again.
    return Ask(request, depends_on=revision.digest, covers=context.platform.server, order=to_measure(context))


def gate(context: Context, result: LoadTestResult) -> Advance | Stop:
    """Require that the winner meets the constraints as its clients measure them."""
    choice = selection.as_served(context.model.spec.benchmark, context.chosen, result.points)
    if context.model.spec.serving.autoscaling:
        choice = replace(choice, capacity=selection.capacity(result.points, _within(context)))
    context = replace(context, choice=choice)
    return unmet(context, STAGE, f"revision {context.target.short} does not meet the constraints") or Advance(context)


def _within(context: Context) -> float | None:
    """The limit of the p99 at the load for which an autoscaler adds replicas. None if there is none, or no autoscaler."""
    spec = context.model.spec
    return spec.benchmark.constraints.p99_milliseconds if spec.serving.autoscaling else None


def believe(request: LoadTestRequest, result: LoadTestResult) -> str | None:
    """Expect figures of exactly the requested loads."""
    asked = [(request.variant, load.batch_size, load.concurrency) for load in request.loads]
    if [(point.variant, point.batch_size, point.concurrency) for point in result.points] != asked:
        return "it is not for the requested loads"
    return odd_numbers(result.points)
