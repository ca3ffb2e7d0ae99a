"""Wait for a moment."""

from onnxmodel_operator.plan.values import Advance, Ask, Context, Stop
from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.wait import WaitRequest, WaitResult

STAGE = Stage.WAIT


def ask(context: Context) -> Ask:
    """Ask for a short wait."""
    return Ask(WaitRequest(0.01))


def gate(context: Context, result: WaitResult) -> Advance | Stop:
    """Go on: nothing depends on it."""
    return Advance(context)


def believe(request: WaitRequest, result: WaitResult) -> str | None:
    """Compare the wait with the one that was asked for."""
    return None if result.waited == request.seconds else f"it waited for {result.waited} seconds"
