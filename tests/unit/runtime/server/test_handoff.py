"""Requests between the event loop and the threads of the instances: every interleaving ends well, or is ended.

The explorer stops one side before each line of the hand-over in turn, and lets the other side go as far as it gets.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import json
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from onnxmodel_runtime.server import handoff, limits, scheduler
from onnxmodel_runtime.server import model as models
from onnxmodel_runtime.server.errors import Code, Ended, Reason, ServerError
from onnxmodel_runtime.server.execution import Answer, Job
from onnxmodel_runtime.server.handoff import RunQueue
from onnxmodel_runtime.server.main import Server
from onnxmodel_runtime.server.model import Instance, Model
from onnxmodel_runtime.server.protocol.request import InferRequest
from onnxmodel_runtime.server.recorder import Recorder
from onnxmodel_runtime.server.scheduler import Policy, Scheduler
from tests.unit.runtime import server_support as support

SOURCES = {scheduler.__file__, handoff.__file__}


class Breakpoint:
    """Calls `reached` once, in the thread that is about to execute the n-th line of the sources."""

    def __init__(self, number: int, reached: Callable[[], None]) -> None:
        self.hit = False
        self._left = number
        self._reached = reached

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in SOURCES:
            return None
        if event == "line":
            self._left -= 1
            if self._left == 0:
                self.hit = True
                self._reached()
        return self.trace

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Count the lines of this thread that lie in functions called from now on."""
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            yield
        finally:
            sys.settrace(before)

    def outwards(self) -> None:
        """Count the lines of this thread from now on, in the functions that are running already too."""
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if frame.f_code.co_filename in SOURCES:
                frame.f_trace = self.trace
            frame = frame.f_back
        sys.settrace(self.trace)


class Watched:
    """A lock that tells when somebody has to wait for it."""

    def __init__(self, *contended: threading.Event) -> None:
        self._lock = threading.Lock()
        self._contended = contended

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            for event in self._contended:
                event.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Scene:
    """A scheduler whose first run is held until `go`. quiet: the worker got as far as it can; done: so did the loop."""

    def __init__(
        self, model: Model, monkeypatch: pytest.MonkeyPatch, leaving: Callable[[], None] | None = None
    ) -> None:
        self.recorder = Recorder("m")
        # Closing a scheduler ends its instances.
        model = dataclasses.replace(model, instances=tuple(Instance(each._session) for each in model.instances))
        self.scheduler = Scheduler(model, self.recorder, Policy(100))
        self.running, self.go = threading.Event(), threading.Event()
        self.quiet, self.done = threading.Event(), threading.Event()
        self.loop = asyncio.get_running_loop()
        self.call = type(self.loop).call_soon_threadsafe.__get__(self.loop)
        if (line := getattr(self.scheduler, "_queue", None)) is not None:
            line.lock = Watched(self.quiet, self.done)

        def told(*arguments: Any) -> Any:
            handle = self.call(*arguments)
            self.quiet.set()
            return handle

        monkeypatch.setattr(self.loop, "call_soon_threadsafe", told)
        run = Instance.run
        first = threading.Lock()

        def held(instance: Instance, *arguments: Any) -> Any:
            answer = run(instance, *arguments)
            if first.acquire(blocking=False):
                self.running.set()
                assert self.go.wait(10)
                if leaving is not None:
                    leaving()
            return answer

        monkeypatch.setattr(Instance, "run", held)

    def ask(self, value: float) -> "asyncio.Task[Answer]":
        request = InferRequest("", {"x": np.full((1, 3), value, np.float32)}, ("y",), 1)
        return asyncio.create_task(self.scheduler.infer(request))

    async def first(self) -> "asyncio.Task[Answer]":
        task = self.ask(1)
        await asyncio.to_thread(self.running.wait, 10)
        return task

    def let_the_worker_go(self) -> None:
        self.quiet.clear()
        self.go.set()
        assert self.quiet.wait(10)

    def let_the_loop_go(self, proceed: asyncio.Event) -> None:
        if not self.done.is_set():
            self.call(proceed.set)
            assert self.done.wait(60)

    async def ends(self, tasks: "list[asyncio.Task[Answer]]") -> list[Any]:
        """What the requests ended with, which must be their own answers."""
        ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        for number, answer in enumerate(ended, 1):
            if isinstance(answer, Answer):
                assert answer.outputs["y"][0, 0] == 2 * number
        return ended


@pytest.fixture(autouse=True)
def _without_the_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WATCH_SECONDS", 1000.0)


def load(path: Path, instances: int = 1) -> Model:
    return models.load(support.request(path, instances=instances))


async def submit(scene: Scene, tasks: "list[asyncio.Task[Answer]]") -> None:
    tasks.append(scene.ask(len(tasks) + 1))
    await asyncio.sleep(0)


async def cancel(scene: Scene, tasks: "list[asyncio.Task[Answer]]") -> None:
    tasks[-1].cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def close(scene: Scene, tasks: "list[asyncio.Task[Answer]]") -> None:
    scene.scheduler.close()


Operation = Callable[[Scene, "list[asyncio.Task[Answer]]"], Awaitable[None]]


async def settled(scene: Scene, tasks: "list[asyncio.Task[Answer]]", operation: Operation) -> None:
    """Every request has ended as it should, nothing waits, and every instance works."""
    ended = await scene.ends(tasks)
    for answer in ended:
        if operation is cancel:
            assert isinstance(answer, Answer | asyncio.CancelledError)
        elif operation is close:
            assert isinstance(answer, Answer) or (isinstance(answer, ServerError) and answer.code is Code.UNAVAILABLE)
        else:
            assert isinstance(answer, Answer)
    assert scene.recorder.pending == 0
    if operation is close:
        return
    await asyncio.sleep(0)
    again = [scene.ask(number) for number in (1, 2, 3)]
    assert all(isinstance(answer, Answer) for answer in await scene.ends(again))
    assert scene.scheduler.close()


@pytest.mark.parametrize("instances", [1, 2])
@pytest.mark.parametrize("operation", [submit, cancel, close])
async def test_a_worker_overtakes_the_event_loop_anywhere(tmp_path: Path, instances: int, operation: Operation) -> None:
    """The loop stands before a line of what it does; the worker ends its run and takes what it finds."""
    model = load(support.double(tmp_path), instances)
    for number in itertools.count(1):
        with pytest.MonkeyPatch.context() as patch:
            scene = Scene(model, patch)
            tasks = [await scene.first()]
            for _ in range(instances - 1 if operation is submit else instances):
                await submit(scene, tasks)
            point = Breakpoint(number, scene.let_the_worker_go)
            with point.here():
                await operation(scene, tasks)
            scene.go.set()
            await settled(scene, tasks, operation)
            if not point.hit:
                break
    assert number > 5


@pytest.mark.parametrize("operation", [submit, cancel, close])
async def test_the_event_loop_overtakes_a_worker_anywhere(tmp_path: Path, operation: Operation) -> None:
    """The worker stands before a line on its way from one run to the next."""
    model = load(support.double(tmp_path))
    for number in itertools.count(1):
        with pytest.MonkeyPatch.context() as patch:
            proceed = asyncio.Event()
            point = Breakpoint(number, lambda: scene.let_the_loop_go(proceed))  # noqa: B023
            scene = Scene(
                model if operation is not close else load(tmp_path / "double.onnx"),
                patch,
                lambda: point.outwards(),  # noqa: B023
            )
            tasks = [await scene.first()]
            if operation is not submit:
                await submit(scene, tasks)
            scene.go.set()
            waiting = asyncio.create_task(proceed.wait())
            await asyncio.wait([waiting, tasks[0]], return_when=asyncio.FIRST_COMPLETED)
            await operation(scene, tasks)
            scene.done.set()
            waiting.cancel()
            await settled(scene, tasks, operation)
            if not point.hit:
                break
    assert number > 5


async def test_many_requests_with_the_shortest_turns(tmp_path: Path) -> None:
    """Threads change as often as the interpreter can."""
    model = load(support.double(tmp_path), 2)
    scheduler = Scheduler(model, Recorder("m"), Policy(10_000))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        async def client(number: int) -> None:
            for _ in range(100):
                x = np.full((1, 3), number, np.float32)
                answer = await asyncio.wait_for(scheduler.infer(InferRequest("", {"x": x}, ("y",), 1)), 20)
                np.testing.assert_array_equal(answer.outputs["y"], x + x)

        await asyncio.gather(*(client(number) for number in range(20)))
    finally:
        sys.setswitchinterval(before)
    assert scheduler.close()


# What cannot happen is made to happen.


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WATCH_SECONDS", 0.01)


async def failed(scheduler: Scheduler, request: InferRequest) -> str:
    with pytest.raises(ServerError) as caught:
        await asyncio.wait_for(scheduler.infer(request), 10)
    assert (caught.value.code, caught.value.reason) == (Code.INTERNAL, Reason.BACKEND)
    return caught.value.message


def numbers(value: float = 1.0) -> InferRequest:
    return InferRequest("an-id", {"x": np.full((1, 3), value, np.float32)}, ("y",), 1)


def steps(count: int) -> InferRequest:
    return InferRequest("an-id", {"n": np.array([count], np.int64)}, ("y",), 1)


def counted(recorder: Recorder) -> dict[str, str]:
    prefix = 'onnxmodel_requests_ended_by_watchdog_total{model="m",version="1",reason="'
    lines = [line.removeprefix(prefix) for line in recorder.metrics().splitlines() if line.startswith(prefix)]
    return dict(line.split('"} ') for line in lines)


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("delay", [0.0, 0.01])
async def test_a_request_that_is_nowhere_is_ended_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, delay: float
) -> None:
    recorder = Recorder("m")
    scheduler = Scheduler(load(support.double(tmp_path)), recorder, Policy(10, delay))
    with monkeypatch.context() as patch:
        patch.setattr(RunQueue, "put", lambda *_: None)
        patch.setattr(Scheduler, "_due", lambda self, group: self._open.clear())
        assert await failed(scheduler, numbers()) == "the server lost the request; this is a bug in onnxmodel"
    assert counted(recorder) == {"EXPIRED": "0", "THREAD_DIED": "0", "LOST": "1"}
    assert "the watchdog ended request 'an-id' (LOST)" in caplog.text
    assert recorder.pending == 0
    assert (await scheduler.infer(numbers())).outputs["y"][0, 0] == 2
    assert scheduler.close()


@pytest.mark.usefixtures("watched")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_thread_that_dies_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder("m")
    scheduler = Scheduler(load(support.double(tmp_path)), recorder, Policy(10))
    take = RunQueue.take

    def dying(queue: RunQueue, worker: Any) -> Any:
        if threading.current_thread() is worker:
            raise SystemExit
        return take(queue, worker)

    with monkeypatch.context() as patch:
        patch.setattr(RunQueue, "take", dying)
        assert await failed(scheduler, numbers()) == "the thread that ran the model died"
    assert counted(recorder)["THREAD_DIED"] == "1"
    answers = await asyncio.wait_for(asyncio.gather(*(scheduler.infer(numbers(n)) for n in range(3))), 10)
    assert [answer.outputs["y"][0, 0] for answer in answers] == [0, 2, 4]
    assert scheduler.close()


@pytest.mark.usefixtures("watched")
async def test_a_run_without_end_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its instance goes on with the next request."""
    recorder = Recorder("m")
    scheduler = Scheduler(load(support.slow(tmp_path)), recorder, Policy(10))
    monkeypatch.setattr(limits, "REQUEST_SECONDS", 0.05)
    assert (await failed(scheduler, steps(1 << 60))) == "the request did not end within 0.05 s (running)"
    while not scheduler._idle:
        await asyncio.sleep(0.005)
    monkeypatch.setattr(limits, "REQUEST_SECONDS", 3600.0)
    assert (await scheduler.infer(steps(3))).outputs["y"].tolist() == [3]
    assert counted(recorder) == {"EXPIRED": "1", "THREAD_DIED": "0", "LOST": "0"}
    assert not scheduler.stuck
    assert scheduler.close()


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("front", ["alone", "beside another", "http", "grpc", "stream"])
async def test_a_run_that_nobody_waits_for_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, front: str
) -> None:
    """Its instance goes on with the next request."""
    if front in _LEAVE:
        with support.in_thread(support.request(support.slow(tmp_path))) as server:
            await asyncio.to_thread(_LEAVE[front], server)
            body = b'{"inputs":[{"name":"n","shape":[1],"datatype":"INT64","data":[3]}]}'
            answer = await asyncio.to_thread(support.call, server.ports[0], "POST", "/v2/models/slow/infer", body)
            assert (answer[0], json.loads(answer[1])["outputs"][0]["data"]) == (200, [3])
            server.stop()
        assert server.idle
        return
    scheduler = Scheduler(load(support.slow(tmp_path)), Recorder("m"), Policy(10))
    if front == "alone":
        left = asyncio.create_task(scheduler.infer(steps(1 << 60)))
        await _until(lambda: not scheduler._idle and scheduler._workers[0].running)
        left.cancel()
        assert (await asyncio.wait_for(scheduler.infer(steps(3)), 10)).outputs["y"].tolist() == [3]
    else:  # of one batch that cannot run together
        loop = asyncio.get_running_loop()
        jobs = [Job(steps(count), loop.create_future(), 0) for count in (1 << 60, 3)]
        worker, batch = scheduler._idle.pop(), handoff.Batch(tuple(jobs))
        scheduler._queue.give(worker, batch)
        worker.start_on(batch)
        await _until(lambda: len(worker.running) == 1)
        scheduler._watchdog.wake(loop)
        jobs[0].future.cancel()
        assert (await asyncio.wait_for(jobs[1].future, 10)).outputs["y"].tolist() == [3]
    assert not scheduler.stuck
    await _until(lambda: scheduler._idle)
    assert scheduler.close()


def _leave_http(server: Server) -> None:
    body = b'{"inputs":[{"name":"n","shape":[1],"datatype":"INT64","data":[1152921504606846976]}]}'
    connection = HTTPConnection(support.HOST, server.ports[0], timeout=0.3)
    connection.request("POST", "/v2/models/slow/infer", body)
    with contextlib.closing(connection), pytest.raises(TimeoutError):
        connection.getresponse()


def _leave_grpc(server: Server) -> None:
    with triton_grpc.InferenceServerClient(f"{support.HOST}:{server.ports[1]}") as client:
        given = [triton_grpc.InferInput("n", [1], "INT64").set_data_from_numpy(np.array([1 << 60]))]
        with pytest.raises(InferenceServerException, match="Deadline"):
            client.infer("slow", given, client_timeout=0.3)


def _leave_stream(server: Server) -> None:
    """With more requests than are under way at a time."""
    with triton_grpc.InferenceServerClient(f"{support.HOST}:{server.ports[1]}") as client:
        client.start_stream(lambda **_: None)
        given = [triton_grpc.InferInput("n", [1], "INT64").set_data_from_numpy(np.array([1 << 60]))]
        for _ in range(40):
            client.async_stream_infer("slow", given)
        scheduler = server._service._scheduler
        assert scheduler is not None
        support.wait_until(lambda: scheduler._waiting() == 33)  # and one runs
        client.stop_stream(cancel_requests=True)


_LEAVE = {"http": _leave_http, "grpc": _leave_grpc, "stream": _leave_stream}


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_run_that_cannot_be_interrupted_makes_the_process_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client has an answer, and the liveness probe fails."""
    monkeypatch.setattr(limits, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(limits, "INLINE_NS", 0)
    release = threading.Event()
    with support.in_thread(support.request(support.double(tmp_path))) as server:
        alive = [support.call(server.ports[0], "GET", "/v2/health/live")[0]]
        monkeypatch.setattr(Instance, "run", lambda *_: release.wait(60))
        monkeypatch.setattr(limits, "REQUEST_SECONDS", 0.05)
        monkeypatch.setattr(limits, "STUCK_SECONDS", 0.0)
        body = b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}'
        status, answer = support.call(server.ports[0], "POST", "/v2/models/double/infer", body)
        assert status == 500
        assert b"did not end within 0.05 s" in answer
        support.wait_until(lambda: support.call(server.ports[0], "GET", "/v2/health/live")[0] == 400)
        release.set()
        support.wait_until(lambda: support.call(server.ports[0], "GET", "/v2/health/live")[0] == 200)
        assert alive == [200]


async def test_closing_ends_what_waits_and_what_runs(tmp_path: Path) -> None:
    for delay in (0.0, 60.0):
        scheduler = Scheduler(load(support.slow(tmp_path)), Recorder("m"), Policy(10, delay))
        tasks = [asyncio.create_task(scheduler.infer(steps(1 << 60))) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert not scheduler.close()
        for ended in await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10):
            assert isinstance(ended, ServerError)
            assert (ended.code, ended.message) == (Code.UNAVAILABLE, "the server is stopping")
        with pytest.raises(ServerError, match="the server is stopping"):
            await scheduler.infer(steps(1))


def test_every_reason_has_a_sample_from_the_start() -> None:
    assert counted(Recorder("m")) == {str(why): "0" for why in Ended}
