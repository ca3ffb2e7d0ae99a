"""The gate of the benchmark and of the load test: a winner that misses a constraint goes no further."""

from onnxmodel_operator.plan.values import Context, Stop, Trouble, stalled
from onnxmodel_runtime.contract.outcome import Failure
from onnxmodel_runtime.contract.stages import Stage


def unmet(context: Context, stage: Stage, what: str) -> Stop | None:
    """Stop if the winner misses a constraint and the gate is not Warn. what: the beginning of the message."""
    missed = context.chosen.winner.missed
    if not missed or context.model.spec.benchmark.gate == "Warn":
        return None
    failure = Failure(
        "ConstraintsNotMet",
        f"{what}: {'; '.join(missed)}",
        "Relax spec.benchmark.constraints, raise the CPU in spec.serving.resources, choose a faster "
        "spec.serving.nodePool, or set spec.benchmark.gate: Warn to serve it anyway. If the node was "
        "busy, increase spec.benchmark.attempt to measure again.",
        "spec.benchmark.constraints",
    )
    return Stop(context, stalled(Trouble(stage, failure)))
