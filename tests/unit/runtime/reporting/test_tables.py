"""Results as text."""

from dataclasses import dataclass
from typing import Any

import pytest

from dev.results import benchmarked, loaded, optimized, probed, validated
from onnxmodel_runtime.contract.benchmark import Point
from onnxmodel_runtime.contract.loadtest import LoadTestResult
from onnxmodel_runtime.contract.stages import STAGES, Result
from onnxmodel_runtime.reporting.tables import text


@dataclass(frozen=True)
class New:
    files: int
    place: str


def test_a_result_without_a_form_of_its_own_is_shown_field_by_field() -> None:
    result: Any = New(3, "oci://registry/model")
    assert text(result) == "files  3\nplace  oci://registry/model"


HEALTHY = (
    validated(),
    optimized(),
    benchmarked(),
    loaded({"variant": "fp32", "loads": [{"batch_size": 1, "concurrency": 4}]}),
    probed(),
)


@pytest.mark.parametrize("result", HEALTHY, ids=lambda result: type(result).__name__)
def test_no_result_of_a_stage_is_shown_as_data(result: Result) -> None:
    """What has fields within fields needs a form of its own."""
    assert not set("{}'") & set(text(result))


def test_each_result_of_a_stage_is_tried() -> None:
    assert {type(result) for result in HEALTHY} == {row.result for row in STAGES.values()}, "add the new one to HEALTHY"


def test_tables_have_no_exponent():
    point = Point("original", 32, 4, p50=4363.2, p95=123456.7, p99=0.00002, throughput=2.5e6, samples=10, p90=5000.0)
    table = text(LoadTestResult((point,)))
    assert "2,500,000" in table
    assert "4,363" in table
    assert "e+0" not in table
