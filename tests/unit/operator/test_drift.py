"""What differs between what is desired and what is there."""

import pytest

from onnxmodel_operator import quantity
from onnxmodel_operator.drift import difference


@pytest.mark.parametrize("live", [{"b": 1}, ["500m"], True, None, "501m"], ids=str)
def test_what_is_no_equal_quantity_differs(live):
    assert difference({"cpu": "500m"}, {"cpu": live}) == "cpu"


def test_an_equal_quantity_in_other_words_is_the_same():
    assert difference({"cpu": "1000m"}, {"cpu": "1"}) == difference({"cpu": "1000m"}, {"cpu": 1}) == ""


def test_a_boolean_is_no_quantity_though_python_calls_it_equal_to_one():
    assert quantity.parse(1) == 1
    with pytest.raises(ValueError, match="True is not a quantity"):
        quantity.parse(True)
