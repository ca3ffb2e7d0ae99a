"""Requests that wait for each other, and what keeps them apart."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from onnxmodel_runtime.rows import joining
from onnxmodel_runtime.server import limits, selftest
from onnxmodel_runtime.server import model as models
from onnxmodel_runtime.server.errors import Code, Reason, ServerError
from onnxmodel_runtime.server.execution import Answer
from onnxmodel_runtime.server.model import Instance, Model
from onnxmodel_runtime.server.protocol.request import InferRequest
from onnxmodel_runtime.server.recorder import Recorder
from onnxmodel_runtime.server.scheduler import Policy, Scheduler
from tests.unit.runtime import server_support as support

DELAY = 0.05


class Bench:
    """A scheduler on a model, without the fronts."""

    def __init__(
        self,
        path: Path,
        *,
        delay: float = DELAY,
        limit: int = 100,
        join: bool = True,
        preferred: tuple[int, ...] = (),
        timeout: float = 0.0,
        **fields: Any,
    ) -> None:
        self.model: Model = models.load(support.request(path, **fields))
        self.recorder = Recorder("m")
        self.scheduler = Scheduler(self.model, self.recorder, Policy(limit, delay, join, preferred, timeout))

    def ask(
        self, *rows: Any, outputs: tuple[str, ...] = ("y",), dtype: Any = np.float32, timeout: int = 0
    ) -> "asyncio.Task[Answer]":
        inputs = {self.model.spec.inputs[0].name: np.array(rows, dtype)}
        return asyncio.create_task(self.scheduler.infer(InferRequest("", inputs, outputs, len(rows), timeout)))

    def close(self) -> None:
        """Nothing runs, waits or is left in the queue."""
        assert self.scheduler.close()
        for worker in self.scheduler._workers:
            worker.join(5)
            assert not worker.is_alive()
        assert self.recorder.pending == 0
        assert not self.scheduler._ready
        assert not self.scheduler._open

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
        bench.close()


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
    assert bad.code == Code.INVALID
    assert "onnx runtime error" in bad.message


async def test_a_batch_that_memory_does_not_hold_runs_one_by_one(
    tmp_path: Path, benches: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(support.double(tmp_path))
    benches.append(bench)
    run = Instance.run

    def scarce(self: Instance, outputs: Any, inputs: Any) -> Any:
        if len(inputs["x"]) > 1:
            raise MemoryError
        return run(self, outputs, inputs)

    monkeypatch.setattr(Instance, "run", scarce)
    answers = await asyncio.gather(bench.ask([1, 2, 3]), bench.ask([4, 5, 6]))
    assert [answer.outputs["y"].tolist() for answer in answers] == [[[2, 4, 6]], [[8, 10, 12]]]


def counting(directory: Path) -> Path:
    """y = how often the Loop ran: as often as n says."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Add", ["a", "one"], ["b"])],
        "body",
        [support.tensor("i", "INT64", []), support.tensor("going", "BOOL", []), support.tensor("a", "FP32", [1])],
        [support.tensor("on", "BOOL", []), support.tensor("b", "FP32", [1])],
    )
    return support.save(
        directory / "counting.onnx",
        [
            helper.make_node("ReduceMax", ["n"], ["trips"], keepdims=0),
            helper.make_node("Loop", ["trips", "", "zero"], ["y"], body=body),
        ],
        [support.tensor("n", "INT64", ["k"])],
        [support.tensor("y", "FP32", [1])],
        [helper.make_tensor(name, 1, [1], [value]) for name, value in (("zero", 0), ("one", 1))],
    )


def ranged(directory: Path) -> Path:
    """y = the numbers below the largest of n."""
    return support.save(
        directory / "ranged.onnx",
        [
            helper.make_node("ReduceMax", ["n"], ["end"], keepdims=0),
            helper.make_node("Range", ["zero", "end", "one"], ["y"]),
        ],
        [support.tensor("n", "INT64", ["k"])],
        [support.tensor("y", "INT64", ["m"])],
        [helper.make_tensor(name, 7, [], [value]) for name, value in (("zero", 0), ("one", 1))],
    )


@pytest.mark.parametrize(("made", "known"), [(support.double, True), (counting, False), (ranged, False)])
async def test_only_a_model_of_a_known_time_runs_on_the_event_loop(
    tmp_path: Path, benches: list[Bench], monkeypatch: pytest.MonkeyPatch, made: Any, known: bool
) -> None:
    monkeypatch.setattr(limits, "INLINE_NS", 1 << 60)
    bench = Bench(made(tmp_path), delay=0.0)
    benches.append(bench)
    await (bench.ask([1, 2, 3]) if known else bench.ask(3, dtype=np.int64))
    assert bench.scheduler.quick is known


async def test_larger_inputs_and_slow_runs_leave_the_event_loop(
    tmp_path: Path, benches: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A length that was never met, or a value that decides the length, must not hold up every other client."""
    monkeypatch.setattr(limits, "INLINE_NS", 1_000_000_000)
    bench = Bench(support.double(tmp_path, "n"), delay=0.0)
    benches.append(bench)
    await bench.ask([1, 2, 3])

    def now(size: int) -> Any:
        x = np.zeros((1, size), np.float32)
        return bench.scheduler.infer_now(InferRequest("", {"x": x}, ("y",), 1))

    assert now(3) is not None
    assert now(6) is not None
    assert now(13) is None, "more than twice what was quick"
    await bench.ask([0] * 13)
    assert now(13) is not None
    instance = bench.model.instances[0]
    instance.took(101_000_000_000, {})
    assert not bench.scheduler.quick
    for _ in range(60):
        instance.took(1000, {})
    assert bench.scheduler.quick
    texts = Instance(None)
    texts.took(1000, {"x": np.array(["some text", b"bytes"], np.object_)})
    assert texts.fits({"x": np.array(["other text", b"more"], np.object_)})
    assert not texts.fits({"x": np.array(["long" * 100], np.object_)}), "one reference, and much behind it"


async def test_batches_grow_while_instances_are_busy(
    tmp_path: Path, benches: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    benches.append(bench := Bench(support.double(tmp_path), delay=0.001))
    release = threading.Event()
    run = Instance.run

    def held(self: Instance, *arguments: Any) -> Any:
        release.wait(60)
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


class Hold:
    """Keeps every execution until release is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.release = threading.Event()
        run = Instance.run

        def held(instance: Instance, *arguments: Any) -> Any:
            self.release.wait(60)
            return run(instance, *arguments)

        monkeypatch.setattr(Instance, "run", held)


async def test_a_preferred_size_does_not_wait(tmp_path: Path, benches: list[Bench]) -> None:
    benches.append(bench := Bench(support.double(tmp_path), delay=60, preferred=(2, 5)))
    await asyncio.wait_for(asyncio.gather(*(bench.ask([n, 0, 0]) for n in range(4))), 10)
    assert bench.batches == {2: 2}
    await asyncio.wait_for(bench.ask(*[[n, 0, 0] for n in range(7)]), 10)  # beyond every preferred size
    assert bench.batches == {2: 2, 7: 1}


@pytest.mark.parametrize(("delay", "batches"), [(60.0, {4: 2, 20: 1}), (0.001, {4: 1, 7: 1})])
async def test_what_grew_past_a_preferred_size(
    tmp_path: Path, benches: list[Bench], monkeypatch: pytest.MonkeyPatch, delay: float, batches: dict[int, int]
) -> None:
    """While the delay lasts, the preferred size runs and the rest waits on; after it, all that waits runs."""
    benches.append(bench := Bench(support.double(tmp_path), delay=delay, preferred=(4, 20)))
    hold = Hold(monkeypatch)
    tasks = [bench.ask(*[[0, 0, 0]] * 4)]
    await asyncio.sleep(0)
    tasks += [bench.ask([n, 0, 0]) for n in range(1, 8)]
    await asyncio.sleep(0.02)
    hold.release.set()
    await asyncio.wait(tasks[:5], timeout=10)
    if delay > 1:
        assert [task.done() for task in tasks] == [True] * 5 + [False] * 3
        tasks.append(bench.ask(*[[8, 0, 0]] * 17))
    answers = await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert [answer.outputs["y"][0, 0] for answer in answers] == [2 * n for n in range(len(tasks))]
    assert bench.batches == batches


@pytest.mark.parametrize(
    ("default", "own", "seconds"),
    [(0.0, 20_000, 0.02), (0.02, 0, 0.02), (0.02, 50_000_000, 0.02), (50.0, 20_000, 0.02)],
)
async def test_a_request_waits_no_longer_than_it_may(
    tmp_path: Path, benches: list[Bench], monkeypatch: pytest.MonkeyPatch, default: float, own: int, seconds: float
) -> None:
    for delay in (0.0, 60.0):
        benches.append(bench := Bench(support.double(tmp_path), delay=delay, timeout=default, max_batch_size=4))
        hold = Hold(monkeypatch)
        first = bench.ask(*[[1, 0, 0]] * 4, timeout=own)
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        with pytest.raises(ServerError, match="Request timeout expired") as caught:
            await asyncio.wait_for(bench.ask([2, 0, 0], timeout=own), 10)
        assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, Reason.REJECTED)
        assert asyncio.get_running_loop().time() - began >= seconds * 0.9
        hold.release.set()
        assert (await first).outputs["y"].shape == (4, 3)  # it waited for nobody
        assert bench.batches == {4: 1}


async def test_a_full_queue_refuses_the_next(
    tmp_path: Path, benches: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    benches.append(bench := Bench(support.double(tmp_path), delay=0.0, limit=2))
    hold = Hold(monkeypatch)
    tasks = [bench.ask([n, 0, 0]) for n in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ServerError, match="Exceeds maximum queue size") as caught:
        await bench.ask([3, 0, 0])
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, Reason.REJECTED)
    tasks[2].cancel()  # its place is free again
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[2] = bench.ask([2, 0, 0])
    hold.release.set()
    answers = await asyncio.gather(*tasks)
    assert [answer.outputs["y"][0, 0] for answer in answers] == [0, 2, 4]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(
        st.tuples(
            st.integers(1, 9), st.integers(2, 3), st.booleans(), st.sampled_from([0, 0, 0, 1, 2_000]), st.booleans()
        ),
        min_size=1,
        max_size=25,
    ),
    most=st.integers(1, 12),
    preferred=st.lists(st.integers(1, 12), max_size=3),
    delay=st.sampled_from([0.0, 0.0005, 0.003]),
    instances=st.integers(1, 3),
    left=st.sets(st.integers(0, 24), max_size=3),
)
async def test_everyone_gets_their_own_rows(
    tmp_path: Path, asked: Any, most: int, preferred: list[int], delay: float, instances: int, left: set[int]
) -> None:
    """Any mix of sizes, shapes, wanted outputs, patience and clients that leave, over any policy."""
    bench = Bench(
        support.two_outputs(tmp_path),
        **{"delay": delay, "preferred": tuple(preferred), "instances": instances, "max_batch_size": most},
    )
    tasks, wanted = [], []
    for number, (rows, columns, both, timeout, pause) in enumerate(asked):
        x = np.full((min(rows, most), columns), number, np.float32) + np.arange(min(rows, most))[:, None] / 16
        tasks.append(bench.ask(*x, outputs=("y", "z") if both else ("z",), timeout=timeout))
        wanted.append(x)
        if pause:
            await asyncio.sleep(0)
    for number in left & set(range(len(tasks))):
        tasks[number].cancel()
    answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
    for number, (answer, x) in enumerate(zip(answers, wanted, strict=True)):
        if isinstance(answer, asyncio.CancelledError):
            assert number in left
        elif isinstance(answer, BaseException):
            assert isinstance(answer, ServerError)
            assert answer.message == "Request timeout expired"
            assert asked[number][3]
        else:
            assert set(answer.outputs) == ({"y", "z"} if asked[number][2] else {"z"})
            np.testing.assert_array_equal(answer.outputs["z"], -x)
            if "y" in answer.outputs:
                np.testing.assert_array_equal(answer.outputs["y"], x + x)
    assert max(bench.batches, default=0) <= most
    await asyncio.sleep(0.01)
    bench.close()


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
    meet = threading.Barrier(3, timeout=60)
    run = Instance.run

    def together(self: Instance, *arguments: Any) -> Any:
        meet.wait()
        return run(self, *arguments)

    monkeypatch.setattr(Instance, "run", together)
    await asyncio.gather(*(bench.ask([n, 0, 0]) for n in range(3)))
    assert bench.batches == {1: 3}


def test_rows_that_influence_each_other_are_found_at_the_start(tmp_path: Path) -> None:
    x = np.array([[1, 2, 3], [3, 2, 1]], np.float32)
    for build, answer, independent in (
        (support.double, x + x, True),
        (support.centred, x - x.mean(0), False),
        (support.reduced, x.sum(0, keepdims=True), False),
        (support.summed, np.repeat(x.sum(0, keepdims=True), 2, 0), False),
    ):
        path = build(tmp_path)
        probe = support.probe(tmp_path / "probe.npz", {"x": x}, {"y": answer})
        asked = support.request(path, probe=probe, max_queue_delay_microseconds=100)
        assert (not selftest.run(models.load(asked), asked)) == independent, path
        asked = support.request(path, max_queue_delay_microseconds=100)
        assert (not selftest.run(models.load(asked), asked)) == independent, (path, "without a probe")


def test_without_a_batch_axis_or_an_input_there_is_nothing_to_find(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fixed = [helper.make_node("Add", ["x", "x"], ["y"])], [support.tensor("x", "FP32", [3])]
    none = [helper.make_node("Constant", [], ["y"], value_floats=[1.0, 2.0, 3.0])], []
    for name, (nodes, inputs) in {"fixed": fixed, "none": none}.items():
        path = support.save(tmp_path / f"{name}.onnx", nodes, inputs, [support.tensor("y", "FP32", [3])])
        asked = support.request(path, max_queue_delay_microseconds=100)
        assert selftest.run(models.load(asked), asked) == joining.NO_BATCH, name
    assert not caplog.text
