"""What the garbage collector looks at."""

import gc
import weakref

import pytest

from onnxmodel_operator.pauses import Collector


class Node:
    """Something that can be a cycle."""

    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def thawed():
    yield
    gc.unfreeze()


def test_what_is_old_is_looked_at_once_an_hour_and_what_is_new_each_time():
    now = 0.0
    collector = Collector(lambda: now)
    old = Node()
    collector.collect()
    assert not any(item is old for item in gc.get_objects())
    gone, new = weakref.ref(old), Node()
    fresh = weakref.ref(new)
    del old, new
    collector.collect()
    assert fresh() is None
    assert gone() is not None
    now = 3600.0
    collector.collect()
    assert gone() is None
