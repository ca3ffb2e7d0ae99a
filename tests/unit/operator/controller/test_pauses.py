"""What the garbage collector looks at."""

import asyncio
import gc
import weakref

import pytest

from onnxmodel_operator.controller.pauses import Collector


class Node:
    """Something that can be a cycle."""

    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def as_before():
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


async def test_what_is_new_is_looked_at_and_what_is_old_never_again(monkeypatch):
    slept = []

    async def sleep(seconds, real=asyncio.sleep):
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr("asyncio.sleep", sleep)
    collector, old = Collector(), Node()
    gone, running = weakref.ref(old), asyncio.create_task(collector.run())

    async def rounds(number):
        until = len(slept) + number
        while len(slept) < until:
            await asyncio.wait({running}, timeout=0)

    await rounds(2)
    assert not any(item is old for item in gc.get_objects())
    new = Node()
    fresh = weakref.ref(new)
    del old, new
    await rounds(2)
    running.cancel()
    await asyncio.wait({running})
    assert fresh() is None
    assert gone() is not None
    assert set(slept) == {10.0}
    assert gc.get_threshold()[2] == 1_000_000
