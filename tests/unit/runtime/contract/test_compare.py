"""An order to compare is read as it was written, and nothing else is one: anybody may send a header."""

import pytest

from onnxmodel_runtime.contract.compare import CompareOrder, read
from onnxmodel_runtime.contract.model import Tolerance

ORDER = CompareOrder("0a1b2c3d", 12.5, Tolerance(0.1, 1e-5, 0.5))


def test_an_order_is_read_as_it_was_written() -> None:
    assert read(ORDER.text()) == ORDER
    assert read(CompareOrder("ffffffff", 100).text()) == CompareOrder("ffffffff", 100)


def test_both_sides_know_an_order_by_the_same_key_and_no_other_order_has_it() -> None:
    order = CompareOrder("0a1b2c3d", 10)
    assert read(order.text()).key == order.key  # type: ignore[union-attr]
    others = CompareOrder("0a1b2c3d", 11), CompareOrder("0a1b2c3e", 10), CompareOrder("0a1b2c3d", 10, Tolerance(1.0))
    assert len({each.key for each in (order, *others)}) == 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "[]",
        "{}",
        '["0a1b2c3d", 10]',
        '["0a1b2c3d", 10, 0, 0, 0, 0]',
        '["0a1b2c3d", "10", 0, 0, 0]',
        '["0a1b2c3d", true, 0, 0, 0]',
        '["0a1b2c3d", NaN, 0, 0, 0]',
        '["0a1b2c3d", 10, Infinity, 0, 0]',
        '["0a1b2c3d", 0, 0, 0, 0]',
        '["0a1b2c3d", 101, 0, 0, 0]',
        '["0a1b2c3d", 10, -1, 0, 0]',
        '["evil.example.com", 10, 0, 0, 0]',
        '["0a1b2c3d\\n", 10, 0, 0, 0]',
        '["", 10, 0, 0, 0]',
        '["2", 10, 0, 0, 0]',  # the Service of another model, m-2
        '["' + "a" * 7 + '", 10, 0, 0, 0]',
        '["' + "a" * 9 + '", 10, 0, 0, 0]',
        "[" * 250,
        '["0a1b2c3d", 10, 0, 0, 0]' + " " * 300,
        '["0a1b2c3d", 1' + "0" * 310 + ", 0, 0, 0]",
    ],
)
def test_nothing_else_is_an_order(text: str) -> None:
    assert read(text) is None
