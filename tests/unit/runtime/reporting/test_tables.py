"""Results as text."""

from dataclasses import dataclass
from typing import Any

from onnxmodel_runtime.contract.benchmark import Point
from onnxmodel_runtime.contract.loadtest import LoadTestResult
from onnxmodel_runtime.reporting.tables import text


@dataclass(frozen=True)
class New:
    files: int
    place: str


def test_a_result_without_a_form_of_its_own_is_shown_field_by_field() -> None:
    result: Any = New(3, "oci://registry/model")
    assert text(result) == "files  3\nplace  oci://registry/model"


def test_tables_have_no_exponent():
    point = Point("original", 32, 4, 4363.2, 123456.7, 0.00002, 2.5e6, 10, 5000.0)
    table = text(LoadTestResult((point,)))
    assert "2,500,000" in table
    assert "4,363" in table
    assert "e+0" not in table
