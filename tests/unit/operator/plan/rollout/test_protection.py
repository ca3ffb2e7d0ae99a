"""What is protected from being evicted all at once."""

import pytest

from onnxmodel_operator.plan.rollout.protection import protected
from tests.contexts import model


@pytest.mark.parametrize(
    ("replicas", "traffic", "expected"),
    [
        (2, (("old", 100),), ("old",)),
        (3, (("old", 95), ("new", 5)), ("old", "new")),
        (3, (("old", 100), ("new", 0)), ("old",)),
        (2, (), ()),
        (1, (("old", 100),), ()),
        (0, (("old", 100),), ()),
    ],
)
def test_what_takes_traffic_with_two_or_more_replicas(replicas, traffic, expected):
    assert protected(model(serving={"replicas": replicas}), traffic) == expected
