"""Wording that both sides share."""

import pytest

from onnxmodel_runtime.contract.providers import CPU_NOT_LAST, PROVIDER_TWICE, misplaced
from onnxmodel_runtime.contract.text import in_words, nearest, plain


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (0.0, 4, "0"),
        (0.00003456789, 4, "0.00003457"),
        (4363.21, 3, "4,360"),
        (1234567.0, 4, "1,235,000"),
        (12.0, 4, "12"),
    ],
)
def test_numbers_for_people_have_no_exponent(value, digits, shown):
    assert plain(value, digits) == shown


@pytest.mark.parametrize(
    ("word", "end"),
    [("fp61", "; did you mean fp16?"), ("FP32", "; did you mean fp32?"), ("something", ""), ("", "")],
)
def test_a_misspelled_word_gets_a_suggestion(word, end):
    assert nearest(word, ("fp16", "fp32", "int8-static")) == end


def test_sizes_of_axes_are_listed_in_order():
    assert in_words({"height": 320, "width": 640}) == "height 320, width 640"


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (("CUDA", "CPU"), ""),
        (("CPU",), ""),
        ((), ""),
        (("CPU", "CUDA"), CPU_NOT_LAST),
        (("CUDA", "CUDA"), PROVIDER_TWICE),
        (("CPU", "CPU"), PROVIDER_TWICE),
    ],
)
def test_the_cpu_is_the_last_provider_and_none_comes_twice(names, wrong):
    assert misplaced(names) == wrong
