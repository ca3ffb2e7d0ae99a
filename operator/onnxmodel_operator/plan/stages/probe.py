"""Ask the model's Service for an inference with a known answer."""

from onnxmodel_operator.plan.values import Advance, Ask, Context, Stop
from onnxmodel_runtime.contract.probe import ProbeRequest, ProbeResult
from onnxmodel_runtime.contract.stages import Stage

STAGE = Stage.PROBE


def ask(context: Context) -> Ask:
    """Ask for a real inference through the Service, answered by this revision."""
    model, revision = context.model, context.target
    request = ProbeRequest(
        name=model.name,
        host=f"{model.name}.{model.namespace}.svc",
        probe=revision.request.probe,
        tolerance=revision.request.tolerance,
        revision=revision.short,
    )
    return Ask(request, depends_on=revision.digest)


def gate(context: Context, result: ProbeResult) -> Advance | Stop:
    """Advance: a probe that got a wrong answer fails its Job."""
    return Advance(context)


def believe(request: ProbeRequest, result: ProbeResult) -> str | None:
    """Accept any result: no decision depends on it."""
    return None
