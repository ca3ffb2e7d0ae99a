"""Requests that wait for each other, and what keeps them apart."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxmodel_runtime.server import model as models
from onnxmodel_runtime.server import selftest
from onnxmodel_runtime.server.errors import Code, ServerError
from onnxmodel_runtime.server.model import Instance, Model
from onnxmodel_runtime.server.protocol.request import InferRequest
from onnxmodel_runtime.server.recorder import Recorder
from onnxmodel_runtime.server.scheduler import Answer, Scheduler
from tests.unit.runtime import server_support as support

DELAY = 0.05


class Bench:
    """A scheduler on a model, without the fronts."""

    def __init__(self, path: Path, *, delay: float = DELAY, limit: int = 100, join: bool = True, **fields: Any) -> None:
        self.model: Model = models.load(support.request(path, **fields))
        self.recorder = Recorder("m")
        self.scheduler = Scheduler(self.model, self.recorder, limit=limit, delay=delay, join=join)

    def ask(self, *rows: Any, outputs: tuple[str, ...] = ("y",), dtype: Any = np.float32) -> "asyncio.Task[Answer]":
        request = InferRequest("", {self.model.spec.inputs[0].name: np.array(rows, dtype)}, outputs, len(rows))
        return asyncio.create_task(self.scheduler.infer(request))

    @property
    def batches(self) -> dict[int, int]:
        """Rows of an execution -> how many there were."""
        stats = self.recorder.statistics()["batch_stats"]
        return {entry["batch_size"]: entry["compute_infer"]["count"] for entry in stats}


@pytest.fixture
def benches() -> Iterator[list[Bench]]:
    made: list[Bench] = []
    yield made
    for bench in made:
        assert bench.scheduler.close()
        bench.scheduler._pool.shutdown()


async def test_rows_are_joined_and_taken_apart(tmp_path: Path, benches: list[Bench]) -> None:
    benches.append(bench := Bench(support.double(tmp_path)))
    tasks = [bench.ask(*[[number, row, 0] for row in range(1 + number % 3)]) for number in range(9)]
    answers = await asyncio.gather(*tasks)
    assert bench.batches == {18: 1}
    for number, answer in enumerate(answers):
        wanted = [[2 * number, 2 * row, 0] for row in range(1 + number % 3)]
        assert answer.outputs["y"].tolist() == wanted
        assert answer.queue >= DELAY * 0.9e9 or number
    assert bench.recorder.pending == 0


async def test_a_full_batch_does_not_wait(tmp_path: Path, benches: list[Bench]) -> None:
    benches.append(bench := Bench(support.double(tmp_path), delay=60, max_batch_size=4))
    await asyncio.wait_for(asyncio.gather(*(bench.ask([n, 0, 0]) for n in range(8))), 10)
    assert bench.batches == {4: 2}
    await asyncio.wait_for(bench.ask(*[[0, 0, 0]] * 4), 10)  # full by itself
    assert bench.batches == {4: 3}
    # What does not fit ends the batch before it.
    late = bench.ask([0, 0, 0], [0, 0, 0])
    await asyncio.wait_for(asyncio.gather(late, bench.ask(*[[0, 0, 0]] * 3), bench.ask([0, 0, 0])), 10)
    assert bench.batches == {2: 1, 4: 4}


async def test_other_shapes_and_outputs_stay_apart(tmp_path: Path, benches: list[Bench]) -> None:
    benches.append(bench := Bench(support.double(tmp_path, "columns")))
    answers = await asyncio.gather(bench.ask([1, 2]), bench.ask([1, 2, 3]), bench.ask([3, 4]), bench.ask([4, 5, 6]))
    assert [answer.outputs["y"].tolist() for answer in answers] == [[[2, 4]], [[2, 4, 6]], [[6, 8]], [[8, 10, 12]]]
    assert bench.batches == {2: 2}


@pytest.mark.parametrize("options", [{"delay": 0.0}, {"join": False}, {"max_batch_size": 0}, {"max_batch_size": 1}])
async def test_no_batching(tmp_path: Path, benches: list[Bench], options: Any) -> None:
    benches.append(bench := Bench(support.double(tmp_path), **options))
    await asyncio.gather(*(bench.ask([n, 0, 0]) for n in range(3)))
    assert bench.batches == {1: 3}


async def test_an_output_without_the_batch_is_computed_for_each(tmp_path: Path, benches: list[Bench]) -> None:
    benches.append(bench := Bench(support.reduced(tmp_path)))
    answers = await asyncio.gather(bench.ask([1, 2, 3]), bench.ask([4, 5, 6]))
    assert [answer.outputs["y"].tolist() for answer in answers] == [[[1, 2, 3]], [[4, 5, 6]]]
    assert bench.batches == {1: 2}


async def test_one_bad_request_fails_alone(tmp_path: Path, benches: list[Bench]) -> None:
    benches.append(bench := Bench(support.gather(tmp_path)))
    tasks = [bench.ask([value], dtype=np.int64) for value in (1, 99, 3)]
    good, bad, other = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(good, Answer)
    assert isinstance(other, Answer)
    assert (good.outputs["y"].item(), other.outputs["y"].item()) == (10, 30)
    assert isinstance(bad, ServerError)
    assert bad.code == Code.INTERNAL
    assert "onnx runtime error" in bad.message


async def test_batches_grow_while_instances_are_busy(
    tmp_path: Path, benches: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    benches.append(bench := Bench(support.double(tmp_path), delay=0.001))
    release = threading.Event()
    run = Instance.run

    def held(self: Instance, *arguments: Any) -> Any:
        release.wait(5)
        return run(self, *arguments)

    monkeypatch.setattr(Instance, "run", held)
    tasks = [bench.ask([0, 0, 0])]
    await asyncio.sleep(0.02)
    tasks.append(bench.ask([1, 0, 0]))
    await asyncio.sleep(0.02)  # its delay is long over, and there is nobody to run it
    tasks += [bench.ask([2, 0, 0]), bench.ask([3, 0, 0])]
    await asyncio.sleep(0)
    assert bench.recorder.pending == 3
    release.set()
    answers = await asyncio.gather(*tasks)
    assert [answer.outputs["y"][0, 0] for answer in answers] == [0, 2, 4, 6]
    assert bench.batches == {1: 1, 3: 1}


async def test_a_cancelled_request_is_not_run(tmp_path: Path, benches: list[Bench]) -> None:
    benches.append(bench := Bench(support.double(tmp_path)))
    tasks = [bench.ask([1, 0, 0]), bench.ask([2, 0, 0])]
    await asyncio.sleep(0)
    tasks[0].cancel()
    assert (await tasks[1]).outputs["y"].tolist() == [[4, 0, 0]]
    alone = bench.ask([3, 0, 0])
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.sleep(2 * DELAY)
    assert bench.batches == {1: 1}
    assert bench.recorder.pending == 0


async def test_instances_run_side_by_side(
    tmp_path: Path, benches: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    benches.append(bench := Bench(support.double(tmp_path), delay=0.0, instances=3))
    meet = threading.Barrier(3, timeout=5)
    run = Instance.run

    def together(self: Instance, *arguments: Any) -> Any:
        meet.wait()
        return run(self, *arguments)

    monkeypatch.setattr(Instance, "run", together)
    await asyncio.gather(*(bench.ask([n, 0, 0]) for n in range(3)))
    assert bench.batches == {1: 3}


def test_rows_that_influence_each_other_are_found_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x = np.array([[1, 2, 3], [3, 2, 1]], np.float32)
    for build, answer, independent in (
        (support.double, x + x, True),
        (support.centred, x - x.mean(0), False),
        (support.reduced, x.sum(0, keepdims=True), False),
    ):
        path = build(tmp_path)
        probe = support.probe(tmp_path / "probe.npz", {"x": x}, {"y": answer})
        asked = support.request(path, probe=probe, max_queue_delay_microseconds=100)
        assert selftest.run(models.load(asked), asked) == independent, path
    assert "requests are not batched" in caplog.text
