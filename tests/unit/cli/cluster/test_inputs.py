"""Random inputs are what the model's metadata asks for."""

import pytest

from onnxmodel_cli.cluster.inputs import InputsError, request

METADATA = {
    "inputs": [
        {"name": "ids", "datatype": "INT64", "shape": [-1, -1]},
        {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "text", "datatype": "BYTES", "shape": [1]},
        {"name": "mask", "datatype": "BOOL", "shape": []},
    ]
}


def test_dynamic_axes_are_filled():
    ids, x, text, mask = request(METADATA, 2, 5, {}, 0)["inputs"]
    assert (ids["shape"], len(ids["data"]), {type(value) for value in ids["data"]}) == ([2, 5], 10, {int})
    assert (x["shape"], len(x["data"]), {type(value) for value in x["data"]}) == ([2, 3], 6, {float})
    assert (text["shape"], len(text["data"])) == ([1], 1)
    assert isinstance(text["data"][0], str)
    assert (mask["shape"], len(mask["data"]), type(mask["data"][0])) == ([], 1, bool)


def test_a_seed_says_all():
    assert request(METADATA, 1, 4, {}, 7) == request(METADATA, 1, 4, {}, 7)
    assert request(METADATA, 1, 4, {}, 7) != request(METADATA, 1, 4, {}, 8)


def test_a_shape_may_be_given():
    assert request(METADATA, 1, 4, {"ids": [3, 2]}, 0)["inputs"][0]["shape"] == [3, 2]


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"idx": [1, 1]}, "the model has no input 'idx'; it has ids, x, text, mask"),
        ({"ids": [1]}, "input 'ids' has 2 axes"),
        ({"ids": [100_000, 100_000]}, "choose a smaller --shape"),
    ],
)
def test_what_cannot_be_made_is_said(shapes, words):
    with pytest.raises(InputsError, match=words):
        request(METADATA, 1, 4, shapes, 0)
