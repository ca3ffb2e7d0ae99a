"""Ranks and digits of the numbers that are reported."""

from onnxmodel_runtime.stats import percentile, significant


def test_nearest_rank_and_significant_digits():
    assert [percentile([1.0, 2.0, 3.0, 4.0], rank) for rank in (1, 50, 75, 99)] == [1.0, 2.0, 3.0, 4.0]
    assert significant(0.123456) == 0.1235
