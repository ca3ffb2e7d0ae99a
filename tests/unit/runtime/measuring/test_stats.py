"""The few numbers that a benchmark reports."""

from onnxmodel_runtime.contract.benchmark import Point
from onnxmodel_runtime.contract.loadtest import LoadTestResult
from onnxmodel_runtime.reporting.tables import text
from onnxmodel_runtime.stats import percentile, significant


def test_nearest_rank_and_significant_digits():
    assert [percentile([1.0, 2.0, 3.0, 4.0], rank) for rank in (1, 50, 75, 99)] == [1.0, 2.0, 3.0, 4.0]
    assert significant(0.123456) == 0.1235


def test_tables_have_no_exponent():
    point = Point("original", 32, 4, 4363.2, 123456.7, 0.00002, 2.5e6, 10, 5000.0)
    table = text(LoadTestResult((point,)))
    assert "2,500,000" in table
    assert "4,363" in table
    assert "e+0" not in table
