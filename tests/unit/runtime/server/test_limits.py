"""The limits, held against each other."""

from onnxmodel_runtime.server import limits


def test_limits_fit_together() -> None:
    assert limits.MAX_JSON <= limits.MAX_REQUEST <= limits.MAX_BODIES
