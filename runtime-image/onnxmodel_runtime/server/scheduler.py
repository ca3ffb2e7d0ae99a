"""Who runs when: a bounded queue in front of the instances, and requests joined into batches.

Everything but the execution itself happens on the event loop, so that there are no locks; only a thread that has run a
request takes the next one by itself. A group of requests waits until its delay is over or its batch is full or of a
preferred size, and goes on growing while every instance is busy.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter_ns, thread_time_ns
from typing import Any

import numpy as np

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.datatypes import Array
from onnxmodel_runtime.server.errors import Code, Reason, ServerError
from onnxmodel_runtime.server.model import Instance, Model
from onnxmodel_runtime.server.protocol.request import InferRequest, told
from onnxmodel_runtime.server.recorder import Compute, Recorder


@dataclass(slots=True)  # one for each request: frozen, it would take three times as long to make
class Answer:
    """A request's outputs, and what they took in nanoseconds."""

    outputs: dict[str, Array]
    queue: int
    compute: Compute


@dataclass(frozen=True, slots=True)
class Policy:
    """How requests wait. limit: how many may; delay: seconds in which a batch may grow; join: whether there are batches.

    preferred: rows at which a batch goes without waiting for its delay; empty: the model's largest alone. timeout: seconds
    after which a request that still waits is refused; 0: never. A request may ask for less, not for more.
    """

    limit: int
    delay: float = 0.0
    join: bool = True
    preferred: tuple[int, ...] = ()
    timeout: float = 0.0


@dataclass(slots=True, eq=False)
class _Job:
    """group: where it waits; None once it runs."""

    request: InferRequest
    future: "asyncio.Future[Answer]"
    queued: int
    group: "_Group | None" = None


@dataclass(slots=True, eq=False)
class _Group:
    """Jobs that will run together. timer: of its delay; None once it may run."""

    key: Any
    jobs: list[_Job] = field(default_factory=list)
    rows: int = 0
    timer: asyncio.TimerHandle | None = None

    def add(self, job: _Job) -> None:
        """Let the job wait here."""
        self.jobs.append(job)
        self.rows += job.request.rows
        job.group = self

    def remove(self, job: _Job) -> None:
        """The job does not wait here any more."""
        self.jobs.remove(job)
        self.rows -= job.request.rows
        job.group = None


@dataclass(frozen=True, slots=True)
class _Execution:
    """One run: of several jobs, or of one, which may have failed."""

    jobs: Sequence[_Job]
    results: Sequence[dict[str, Array]]
    started: int
    compute: Compute
    error: Exception | None = None


class Scheduler:
    """Runs requests on a model's instances, by a policy."""

    def __init__(self, model: Model, recorder: Recorder, policy: Policy) -> None:
        spec = model.spec
        self._model = model
        self._recorder = recorder
        self._policy = policy
        self._most = spec.max_batch_size
        # An output with another first axis cannot be taken apart again.
        separable = all(out.shape[:1] == (-1,) for out in spec.outputs)
        self._join = policy.join and policy.delay > 0 and self._most > 1 and separable
        self._preferred = frozenset(size for size in policy.preferred if size <= self._most)
        self._full = max(self._preferred, default=self._most)
        self._idle: list[Instance] = list(model.instances)
        self._pool = ThreadPoolExecutor(len(self._idle), "instance")
        self._open: dict[Any, _Group] = {}
        self._ready: deque[_Group] = deque()
        self._running = 0
        self._inline = model.use.name == "CPU" and not self._join  # elsewhere, a thread's own time says little

    async def infer(self, request: InferRequest) -> Answer:
        """Run a request. Raises ServerError, UNAVAILABLE when too many wait already or this one waited too long."""
        if self._recorder.pending >= self._policy.limit:
            raise ServerError(told(request.id) + "Exceeds maximum queue size", Code.UNAVAILABLE, Reason.REJECTED)
        loop = asyncio.get_running_loop()
        job = _Job(request, loop.create_future(), perf_counter_ns())
        self._recorder.pending += 1
        self._add(job)
        self._dispatch()
        timer = None
        if job.group is not None and (patience := self._patience(request)):
            timer = loop.call_later(patience, self._overdue, job)
        try:
            return await job.future
        finally:
            if timer is not None:
                timer.cancel()
            self._leave(job)  # its client may have gone away

    @property
    def quick(self) -> bool:
        """Whether a request would run at once, and be over sooner than it takes to hand it to another thread."""
        return self._inline and bool(self._idle) and not self._ready and 0 < self._idle[-1].typical < limits.INLINE_NS

    def infer_now(self, request: InferRequest) -> Answer:
        """Run a request in the caller's thread, while quick. Raises what the model raises."""
        instance = self._idle[-1]
        started = perf_counter_ns()
        outputs = instance.run(request.outputs, request.inputs)
        took = perf_counter_ns() - started
        instance.took(took)
        compute = Compute(0, took, 0)
        self._recorder.execution(request.rows, compute)
        return Answer(outputs, 0, compute)

    def close(self) -> bool:
        """Stop. Whether all executions were over; those that are not end at the model's next node."""
        for instance in self._model.instances:
            instance.terminate()
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not self._running

    def _patience(self, request: InferRequest) -> float:
        own, most = request.timeout / 1e6, self._policy.timeout
        return min(own, most) if own and most else own or most

    def _overdue(self, job: _Job) -> None:
        if job.group is not None:
            self._leave(job)
            _fail(job, ServerError("Request timeout expired", Code.UNAVAILABLE, Reason.REJECTED))

    def _leave(self, job: _Job) -> None:
        """The job waits no longer, and nothing of it stays in the queue."""
        group = job.group
        if group is None:
            return
        group.remove(job)
        self._recorder.pending -= 1
        if group.jobs:
            return
        if self._open.get(group.key) is group:
            del self._open[group.key]
        if group.timer is not None:
            group.timer.cancel()
        else:
            with contextlib.suppress(ValueError):  # an instance has just taken it: the answer finds nobody
                self._ready.remove(group)

    def _add(self, job: _Job) -> None:
        key = self._key(job.request) if self._join else None
        group = self._open.get(key) if key is not None else None
        if group is not None and group.rows + job.request.rows > self._most:
            self._due(group)
            del self._open[key]
            group = None
        if group is None:
            group = _Group(key)
            if key is None:
                self._ready.append(group)
            else:
                self._wait(group, self._policy.delay)
        group.add(job)
        if key is not None:
            self._judge(group)

    def _wait(self, group: _Group, seconds: float) -> _Group:
        """The group is the open one of its key for so long."""
        self._open[group.key] = group
        group.timer = asyncio.get_running_loop().call_later(seconds, self._expired, group)
        return group

    def _judge(self, group: _Group) -> None:
        """A batch of a good size need not wait; one that is as large as can be does not grow."""
        if group.rows >= self._full or group.rows in self._preferred:
            self._due(group)
        if group.rows >= self._most:
            del self._open[group.key]

    def _key(self, request: InferRequest) -> Any:
        if request.alone or not 0 < request.rows < self._most:
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
                self._cut(group)
            self._begin(group)
            jobs = [job for job in group.jobs if not job.future.done()]
            if not jobs:
                continue
            self._running += 1
            self._pool.submit(self._work, asyncio.get_running_loop(), self._idle.pop(), jobs)

    def _cut(self, group: _Group) -> None:
        """A group that grew past a preferred size, and may still wait, runs at the largest such size; the rest waits on."""
        if not self._preferred or group.rows in self._preferred:
            return
        rows, best = 0, 0
        for at, job in enumerate(group.jobs, 1):
            rows += job.request.rows
            if rows in self._preferred:
                best = at
        age = (perf_counter_ns() - group.jobs[0].queued) / 1e9
        if not best or age >= self._policy.delay:
            return
        rest = _Group(group.key)
        for job in group.jobs[best:]:
            group.remove(job)
            rest.add(job)
        waited = (perf_counter_ns() - rest.jobs[0].queued) / 1e9
        self._judge(self._wait(rest, max(0.0, self._policy.delay - waited)))

    def _begin(self, group: _Group) -> None:
        """Its jobs wait no longer."""
        self._recorder.pending -= len(group.jobs)
        for job in group.jobs:
            job.group = None

    def _work(self, loop: asyncio.AbstractEventLoop, instance: Instance, jobs: list[_Job]) -> None:
        """In an instance's thread: run a group, and then those that are ready, without waiting for the event loop."""
        next_: _Group | None = None
        while True:
            executions: list[_Execution] = []
            failure: BaseException | None = None
            try:
                executions = _execute(instance, jobs)
            except BaseException as error:
                failure = error
            # Without batches a group never changes: what is ready can be taken from any thread.
            try:
                next_ = self._ready.popleft() if not self._join else None
            except IndexError:
                next_ = None
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._done, instance, jobs, executions, failure, next_)
            if next_ is None:
                return
            jobs = [job for job in next_.jobs if not job.future.done()]

    def _done(
        self,
        instance: Instance,
        jobs: list[_Job],
        executions: list[_Execution],
        failure: BaseException | None,
        next_: _Group | None,
    ) -> None:
        """A group ran. next_: what the instance went on with."""
        if next_ is not None:
            self._begin(next_)
        else:
            self._running -= 1
            self._idle.append(instance)
            self._dispatch()
        if failure is not None:
            for job in jobs:
                _fail(job, failure)
            return
        for execution in executions:
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
    busy = thread_time_ns()  # without what it waits for the interpreter
    try:
        outputs = instance.run(job.request.outputs, job.request.inputs)
    except Exception as error:
        return _Execution([job], [], started, Compute(0, 0, 0), error)
    instance.took(thread_time_ns() - busy)
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
