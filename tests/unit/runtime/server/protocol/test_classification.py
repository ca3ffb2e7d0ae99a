"""The classification extension: numbers and labels, as Triton words them."""

import math
from typing import Any

import numpy as np
import pytest

from onnxmodel_runtime.models import labels
from onnxmodel_runtime.server.errors import ServerError
from onnxmodel_runtime.server.protocol import classification

ROWS = [[0.5, 2.0, -1.25, 2.0], [math.nan, math.inf, -math.inf, 1e9]]


@pytest.mark.parametrize(
    ("array", "count", "batched", "found"),
    [
        (np.array(ROWS, np.float32), 2, True,
         [["2.000000:1", "2.000000:3"], ["inf:1", "1000000000.000000:3"]]),
        (np.array(ROWS, np.float32), 3, False, ["inf:5", "1000000000.000000:7", "2.000000:1"]),
        (np.array(ROWS[1:]), 9, True, [["inf:1", "1000000000.000000:3", "nan:0", "-inf:2"]]),
        (np.array([[3, 200, 7]], np.uint8), 2, True, [["200:1", "7:2"]]),
        (np.array([-(2**63), 2**63 - 1]), 2, False, [f"{2**63 - 1}:1", f"{-(2**63)}:0"]),
        (np.array([[[1, 2], [4, 3]]] * 2), 1, True, [["4:2"]] * 2),
        (np.float32(0.1), 3, True, ["0.100000:0"]),
        (np.zeros((0, 4)), 1, True, []),
        (np.zeros((2, 0)), 1, True, [[], []]),
    ],
)  # fmt: skip
def test_classification(array: Any, count: int, batched: bool, found: Any) -> None:
    """std::to_string's numbers, the largest first, and each row by itself where there is a batch."""
    assert classification.top(np.asarray(array), count, batched).tolist() == found


def test_labels() -> None:
    found = labels.read('{"y": ["cat", "dog"]}')
    array = np.array([[1, 3, 2]], np.int8)
    assert classification.top(array, 3, True, found["y"]).tolist() == [["3:1:dog", "2:2", "1:0:cat"]]
    for wrong in ("{", "[]", '{"y": "cat"}', '{"y": [1]}'):
        with pytest.raises(ValueError, match=r"expect|Expecting"):
            labels.read(wrong)


def test_classification_is_bounded() -> None:
    with pytest.raises(ServerError, match="classification output tensor too large"):
        classification.top(np.zeros((1, 1_000_001), np.int8), 1, True)
