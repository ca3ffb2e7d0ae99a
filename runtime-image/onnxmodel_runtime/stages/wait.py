"""Do nothing for a while."""

import time

from onnxmodel_runtime.contract.wait import WaitRequest, WaitResult


def wait(request: WaitRequest) -> WaitResult:
    """Return after the seconds that are asked for."""
    time.sleep(request.seconds)
    return WaitResult(request.seconds)
