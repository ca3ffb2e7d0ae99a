"""Results as text."""

from dataclasses import dataclass
from typing import Any

from onnxmodel_runtime.reporting.tables import text


@dataclass(frozen=True)
class New:
    files: int
    place: str


def test_a_result_without_a_form_of_its_own_is_shown_field_by_field() -> None:
    result: Any = New(3, "oci://registry/model")
    assert text(result) == "files  3\nplace  oci://registry/model"
