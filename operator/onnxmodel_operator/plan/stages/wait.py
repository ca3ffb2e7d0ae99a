"""Wait for a moment."""

from onnxmodel_operator.plan.values import Advance, Ask, Context, Stop
from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.wait import WaitRequest, WaitResult

STAGE = Stage.WAIT


def ask(context: Context) -> Ask:
    """A short wait, beside where the model will serve."""
    return Ask(WaitRequest(0.01), context.platform.client)


def gate(context: Context, result: WaitResult) -> Advance | Stop:
    """Nothing depends on it."""
    return Advance(context)


def believe(request: WaitRequest, result: WaitResult) -> str | None:
    """It waited for as long as it was asked to."""
    return None if result.waited == request.seconds else f"it waited for {result.waited} seconds"
