"""A process that is to end does, whatever hangs."""

import asyncio
import contextlib

import pytest

from onnxmodel_operator.cluster.reflector import Reflector, WentBackError
from onnxmodel_operator.controller.ending import Backstop
from onnxmodel_operator.controller.process import Operator
from tests.builders import SETTINGS, Cluster


async def test_what_hangs_is_named_and_the_process_ends(caplog):
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    codes = []

    def end(code):
        codes.append(code)
        loop.call_soon_threadsafe(ended.set)

    async def hang():
        await asyncio.Event().wait()

    hanging = asyncio.create_task(hang())
    backstop = Backstop(0, end)
    backstop.arm()
    backstop.arm()
    await asyncio.wait_for(ended.wait(), 20)
    hanging.cancel()
    assert codes == [1]
    assert "hang()" in caplog.text


async def test_what_ends_by_itself_is_not_killed():
    codes = []
    backstop = Backstop(3600, codes.append)
    backstop.arm()
    backstop.disarm()
    backstop._timer.join(20)
    assert not backstop._timer.is_alive()
    assert codes == []


async def test_the_backstop_is_armed_while_another_part_hangs(monkeypatch):
    """The API server went back in time, and a part that was told to end does not."""
    armed, let_go = asyncio.Event(), asyncio.Event()

    async def run(self):
        if self.kind.name == "Job":
            raise WentBackError("older")
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()

    monkeypatch.setattr(Reflector, "run", run)
    operator = Operator(Cluster(), SETTINGS)
    operator.ending = armed.set
    task = asyncio.create_task(operator.run())
    await asyncio.wait_for(armed.wait(), 20)
    assert not task.done()
    let_go.set()
    with pytest.raises(ExceptionGroup):
        await task
