"""Who runs when: a bounded queue in front of the instances, and requests joined into batches.

Everything but the execution itself happens on the event loop, so that there are no locks. A group of requests waits
until its delay is over or its batch is full, and goes on growing while every instance is busy.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter_ns
from typing import Any

import numpy as np

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.datatypes import Array
from onnxmodel_runtime.server.errors import Code, Reason, ServerError
from onnxmodel_runtime.server.model import Instance, Model
from onnxmodel_runtime.server.protocol.request import InferRequest
from onnxmodel_runtime.server.recorder import Compute, Recorder


@dataclass(frozen=True, slots=True)
class Answer:
    """A request's outputs, and what they took in nanoseconds."""

    outputs: dict[str, Array]
    queue: int
    compute: Compute


@dataclass(slots=True, eq=False)
class _Job:
    request: InferRequest
    future: "asyncio.Future[Answer]"
    queued: int


@dataclass(slots=True, eq=False)
class _Group:
    key: Any
    jobs: list[_Job] = field(default_factory=list)
    rows: int = 0
    timer: asyncio.TimerHandle | None = None


@dataclass(frozen=True, slots=True)
class _Execution:
    """One run: of several jobs, or of one, which may have failed."""

    jobs: Sequence[_Job]
    results: Sequence[dict[str, Array]]
    started: int
    compute: Compute
    error: Exception | None = None


class Scheduler:
    """Runs requests on a model's instances. join: whether rows of different requests may share an execution."""

    def __init__(self, model: Model, recorder: Recorder, *, limit: int, delay: float = 0.0, join: bool = True) -> None:
        spec = model.spec
        self._model = model
        self._recorder = recorder
        self._limit = limit
        self._delay = delay
        self._most = spec.max_batch_size
        # An output with another first axis cannot be taken apart again.
        self._join = join and delay > 0 and self._most > 1 and all(out.shape[:1] == (-1,) for out in spec.outputs)
        self._idle: list[Instance] = list(model.instances)
        self._pool = ThreadPoolExecutor(len(self._idle), "instance")
        self._open: dict[Any, _Group] = {}
        self._ready: deque[_Group] = deque()
        self._running = 0
        self._inline = model.use.name == "CPU" and not self._join  # elsewhere, a thread's own time says little

    async def infer(self, request: InferRequest) -> Answer:
        """Run a request. Raises ServerError, UNAVAILABLE when too many wait already."""
        if self._recorder.pending >= self._limit:
            raise ServerError("Exceeds maximum queue size", Code.UNAVAILABLE, Reason.REJECTED)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._recorder.pending += 1
        self._add(_Job(request, future, perf_counter_ns()))
        self._dispatch()
        return await future

    @property
    def quick(self) -> bool:
        """Whether a request would run at once, and be over sooner than it takes to hand it to another thread."""
        return self._inline and bool(self._idle) and not self._ready and self._idle[-1].typical < limits.INLINE_NS

    def infer_now(self, request: InferRequest) -> Answer:
        """Run a request in the caller's thread, while quick. Raises what the model raises."""
        started = perf_counter_ns()
        outputs = self._idle[-1].run(request.outputs, request.inputs)
        compute = Compute(0, perf_counter_ns() - started, 0)
        self._recorder.execution(request.rows, compute)
        return Answer(outputs, 0, compute)

    def close(self) -> bool:
        """Stop. Whether all executions were over; those that are not end at the model's next node."""
        for instance in self._model.instances:
            instance.terminate()
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not self._running

    def _add(self, job: _Job) -> None:
        key = self._key(job.request) if self._join else None
        if key is None:
            self._ready.append(_Group(None, [job], job.request.rows))
            return
        group = self._open.get(key)
        if group is not None and group.rows + job.request.rows > self._most:
            self._due(group)
            del self._open[key]
            group = None
        if group is None:
            group = self._open[key] = _Group(key)
            group.timer = asyncio.get_running_loop().call_later(self._delay, self._expired, group)
        group.jobs.append(job)
        group.rows += job.request.rows
        if group.rows >= self._most:
            self._due(group)
            del self._open[key]

    def _key(self, request: InferRequest) -> Any:
        if not 0 < request.rows < self._most:
            return None
        return request.outputs, tuple(array.shape[1:] for array in request.inputs.values())

    def _due(self, group: _Group) -> None:
        if group.timer is not None:
            group.timer.cancel()
            group.timer = None
            self._ready.append(group)

    def _expired(self, group: _Group) -> None:
        self._due(group)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._idle and self._ready:
            group = self._ready.popleft()
            if self._open.get(group.key) is group:
                del self._open[group.key]
            self._recorder.pending -= len(group.jobs)
            jobs = [job for job in group.jobs if not job.future.done()]  # its client may have gone away
            if not jobs:
                continue
            instance = self._idle.pop()
            self._running += 1
            running = asyncio.get_running_loop().run_in_executor(self._pool, _execute, instance, jobs)
            running.add_done_callback(partial(self._done, instance, jobs))

    def _done(self, instance: Instance, jobs: list[_Job], running: "asyncio.Future[list[_Execution]]") -> None:
        self._running -= 1
        self._idle.append(instance)
        self._dispatch()
        failure = RuntimeError("cancelled") if running.cancelled() else running.exception()
        if failure is not None:
            for job in jobs:
                _fail(job, failure)
            return
        for execution in running.result():
            if execution.error is not None:
                for job in execution.jobs:
                    _fail(job, execution.error)
                continue
            self._recorder.execution(sum(job.request.rows for job in execution.jobs), execution.compute)
            for job, outputs in zip(execution.jobs, execution.results, strict=True):
                if not job.future.done():
                    job.future.set_result(Answer(outputs, execution.started - job.queued, execution.compute))


def _fail(job: _Job, error: BaseException) -> None:
    if not job.future.done():
        job.future.set_exception(error)


def _execute(instance: Instance, jobs: list[_Job]) -> list[_Execution]:
    """In an instance's thread: run the jobs together if that works, else one by one."""
    if len(jobs) > 1:
        joined = _execute_joined(instance, jobs)
        if joined is not None:
            return [joined]
    return [_execute_one(instance, job) for job in jobs]


def _execute_one(instance: Instance, job: _Job) -> _Execution:
    started = perf_counter_ns()
    try:
        outputs = instance.run(job.request.outputs, job.request.inputs)
    except Exception as error:
        return _Execution([job], [], started, Compute(0, 0, 0), error)
    return _Execution([job], [outputs], started, Compute(0, perf_counter_ns() - started, 0))


def _execute_joined(instance: Instance, jobs: list[_Job]) -> _Execution | None:
    """None when the model refuses the batch, or an output has no row for each of its rows: then nothing is lost."""
    started = perf_counter_ns()
    first = jobs[0].request
    inputs = {name: np.concatenate([job.request.inputs[name] for job in jobs]) for name in first.inputs}
    joined = perf_counter_ns()
    try:
        outputs = instance.run(first.outputs, inputs)
    except ServerError:
        return None  # one bad request must not fail the others
    ran = perf_counter_ns()
    ends = np.cumsum([job.request.rows for job in jobs])
    if any(array.shape[:1] != (ends[-1],) for array in outputs.values()):
        return None
    parts = {name: np.split(array, ends[:-1]) for name, array in outputs.items()}
    results = [{name: parts[name][at] for name in parts} for at in range(len(jobs))]
    return _Execution(jobs, results, started, Compute(joined - started, ran - joined, perf_counter_ns() - ran))
