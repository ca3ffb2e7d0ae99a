"""What tests of validation share: models are judged by the stage, as a Job would."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from onnxmodel_runtime.contract.validate import Finding, ValidateRequest, ValidateResult
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.stages.validate import validate
from tests import models

FLOAT = TensorProto.FLOAT
X, Y = [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])]


def judged(made: Any, directory: Path, **options: Any) -> ValidateResult:
    """Validate a model that passes. options: fields of the request."""
    models.save(made, directory)
    return validate(ValidateRequest(str(directory), **options))


def refused(made: Any, directory: Path, **options: Any) -> StageError:
    """Validate a model that is refused for good, with a hint."""
    with pytest.raises(StageError) as caught:
        judged(made, directory, **options)
    assert caught.value.failure.hint
    assert not caught.value.retry
    return caught.value


def ids(result: ValidateResult) -> list[str]:
    """Which checks found something."""
    return [finding.id for finding in result.findings]


def severities(findings: Iterable[Finding]) -> dict[str, str]:
    """The severity by check; of several findings of one check, that of the last."""
    return {finding.id: finding.severity for finding in findings}


def relu(given: str = "x", into: str = "y") -> Any:
    """A node."""
    return helper.make_node("Relu", [given], [into], f"relu-{into}")
