"""Schedule requests: a bounded queue in front of the instances, and batches of requests.

Groups of requests belong to the event loop alone. A group waits until its delay is over or its batch is full or of a
preferred size, and goes on growing while every instance is busy. What leaves the queue is a complete batch, and goes to
the instances by handoff.py, the only place that threads share. Where requests are not batched, each is such a batch
from the start.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic, perf_counter_ns
from typing import Any

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.errors import Code, Reason, ServerError
from onnxmodel_runtime.server.execution import Answer, Execution, Job
from onnxmodel_runtime.server.handoff import Batch, RunQueue, Worker
from onnxmodel_runtime.server.model import Model
from onnxmodel_runtime.server.protocol.request import InferRequest, request_prefix
from onnxmodel_runtime.server.recorder import Compute, Recorder
from onnxmodel_runtime.server.watchdog import Watchdog, Whereabouts

log = logging.getLogger("onnxmodel.server")

STOPPING = "the server is stopping"


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules of the queue. limit: of waiting requests; delay: seconds in which a batch may grow; join: whether to batch.

    preferred: rows at which a batch goes without waiting for its delay; empty: the model's largest alone. timeout:
    seconds after which a request that still waits is refused; 0: never. A request may ask for less, not for more.
    """

    limit: int
    delay: float = 0.0
    join: bool = True
    preferred: tuple[int, ...] = ()
    timeout: float = 0.0


@dataclass(slots=True, eq=False)
class _Queued(Job):
    """A job with its place: the group in which it waits, or the batch that it has become."""

    group: "_Group | None" = None
    batch: Batch | None = None


@dataclass(slots=True, eq=False)
class _Group:
    """Jobs that will run together. timer: of its delay; None once it may run."""

    key: Any
    jobs: list[_Queued] = field(default_factory=list)
    rows: int = 0
    timer: asyncio.TimerHandle | None = None

    def add(self, job: _Queued) -> None:
        """Let the job wait here."""
        self.jobs.append(job)
        self.rows += job.request.rows
        job.group = self

    def remove(self, job: _Queued) -> None:
        """The job does not wait here any more."""
        self.jobs.remove(job)
        self.rows -= job.request.rows
        job.group = None


class Scheduler:
    """Runs requests on a model's instances, by a policy. It lives on the event loop."""

    def __init__(self, model: Model, recorder: Recorder, policy: Policy) -> None:
        spec = model.spec
        self._recorder = recorder
        self._policy = policy
        self._most = spec.max_batch_size
        self._join = policy.join and policy.delay > 0 and self._most > 1
        self._preferred = frozenset(size for size in policy.preferred if size <= self._most)
        self._full = max(self._preferred, default=self._most)
        self._open: dict[Any, _Group] = {}
        self._ready: deque[_Group] = deque()
        self._grouped = 0  # jobs in groups
        self._queue = RunQueue()
        self._workers = [Worker(instance, self._queue, self._done) for instance in model.instances]
        self._idle = list(self._workers)
        self._interrupted: dict[Worker, tuple[Batch, float]] = {}  # what they ran, and when that was interrupted
        self._watchdog = Watchdog(self._survey, recorder.ended, self._repair)
        self._closed = False
        # Elsewhere, a thread's own time says little. Where values decide, the last runs say nothing of the next, which
        # nobody could interrupt on the event loop.
        self._inline = model.use.name == "CPU" and not self._join and not model.branches
        recorder.waiting = self._waiting
        for worker in self._workers:
            worker.start()

    async def infer(self, request: InferRequest) -> Answer:
        """Run a request. Raises ServerError, UNAVAILABLE when too many wait already or this one waited too long."""
        if self._closed:
            raise ServerError(STOPPING, Code.UNAVAILABLE, Reason.REJECTED)
        if self._grouped + len(self._queue.batches) >= self._policy.limit:
            raise ServerError(
                request_prefix(request.id) + "Exceeds maximum queue size", Code.UNAVAILABLE, Reason.REJECTED
            )
        loop = asyncio.get_running_loop()
        job = _Queued(request, loop.create_future(), perf_counter_ns())
        self._watchdog.jobs.add(job)
        if not self._watchdog.awake:
            self._watchdog.wake(loop)
        timer = None
        try:
            self._add(job)
            self._dispatch()
            patience = self._patience(request)
            if patience and not job.future.done():
                timer = loop.call_later(patience, self._overdue, job)
            return await job.future
        finally:
            if timer is not None:
                timer.cancel()
            if job.group is not None or (job.batch is not None and job.batch.worker is None):
                self._withdraw(job)  # its client has gone away
            self._watchdog.jobs.discard(job)

    @property
    def quick(self) -> bool:
        """True if a request would run at once, and finish sooner than it takes to hand it to another thread."""
        return (
            self._inline
            and bool(self._idle)
            and not self._queue.batches
            and 0 < self._idle[-1].instance.typical < limits.INLINE_NS
        )

    @property
    def free(self) -> bool:
        """True if nothing waits, and an instance has nothing to do."""
        return bool(self._idle) and not self._waiting()

    def infer_now(self, request: InferRequest) -> Answer | None:
        """Run a request in the caller's thread, while quick; None where it may take longer. Raises what the model raises."""
        instance = self._idle[-1].instance
        if not instance.fits(request.inputs):
            return None
        started = perf_counter_ns()
        outputs = instance.run(request.outputs, request.inputs)
        took = perf_counter_ns() - started
        instance.took(took, request.inputs)
        compute = Compute(0, took, 0)
        self._recorder.execution(request.rows, compute)
        return Answer(outputs, 0, compute)

    @property
    def stuck(self) -> bool:
        """True if an instance goes on with a run that was interrupted long ago: only a new process can end that."""
        end = monotonic() - limits.STUCK_SECONDS
        return any(worker.batch is batch and since < end for worker, (batch, since) in self._interrupted.items())

    def close(self) -> bool:
        """Stop: every request that has no answer yet ends as UNAVAILABLE.

        Returns whether all executions were over; those that are not end at the model's next node.
        """
        over = len(self._idle) == len(self._workers)
        self._closed, self._idle = True, []
        for worker in self._workers:
            worker.instance.terminate()
            worker.finish()
        self._watchdog.fail_all(ServerError(STOPPING, Code.UNAVAILABLE, Reason.REJECTED))
        return over

    def _waiting(self) -> int:
        return self._grouped + len(self._queue.batches)

    def _patience(self, request: InferRequest) -> float:
        own, most = request.timeout / 1e6, self._policy.timeout
        return min(own, most) if own and most else own or most

    def _overdue(self, job: _Queued) -> None:
        if self._withdraw(job):
            job.fail(ServerError("Request timeout expired", Code.UNAVAILABLE, Reason.REJECTED))

    def _withdraw(self, job: _Queued) -> bool:
        """Leave nothing of the job in the queue. Returns whether it was there."""
        group = job.group
        if group is None:
            return job.batch is not None and self._queue.withdraw(job.batch)
        group.remove(job)
        self._grouped -= 1
        if not group.jobs:
            if self._open.get(group.key) is group:
                del self._open[group.key]
            if group.timer is not None:
                group.timer.cancel()
            else:
                with contextlib.suppress(ValueError):
                    self._ready.remove(group)
        return True

    def _add(self, job: _Queued) -> None:
        if not self._join:
            job.batch = Batch((job,))
            self._queue.put(job.batch)
            return
        key = self._key(job.request)
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
        self._grouped += 1
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
        """Give idle workers what is ready. A busy one may take it first."""
        while self._idle and (self._ready or self._queue.batches):
            worker = self._idle[-1]
            batch = self._take(worker)
            if batch is None:
                return
            self._idle.pop()
            worker.start_on(batch)

    def _take(self, worker: Worker) -> Batch | None:
        if not self._join:
            return self._queue.take(worker)
        group = self._ready.popleft()
        if self._open.get(group.key) is group:
            del self._open[group.key]
            self._cut(group)
        batch = Batch(tuple(group.jobs))
        self._grouped -= len(group.jobs)
        for job in group.jobs:
            job.group, job.batch = None, batch
        self._queue.give(worker, batch)
        return batch

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

    def _done(
        self, worker: Worker, batch: Batch, executions: list[Execution], failure: BaseException | None, idle: bool
    ) -> None:
        """A batch ran. idle: the worker found no other one."""
        if self._interrupted:
            self._interrupted.pop(worker, None)
        if idle and not self._closed:
            self._idle.append(worker)
            self._dispatch()
        if failure is not None:
            for job in batch.jobs:
                job.fail(failure)
        for execution in executions:
            if execution.error is not None:
                for job in execution.jobs:
                    job.fail(execution.error)
                continue
            self._recorder.execution(sum(job.request.rows for job in execution.jobs), execution.compute)
            for job, outputs in zip(execution.jobs, execution.results, strict=True):
                if not job.future.done():
                    job.future.set_result(Answer(outputs, execution.started - job.queued, execution.compute))

    # The watchdog calls these.

    def _survey(self) -> Callable[[Job], Whereabouts]:
        """Locate every job at once, so that a long queue does not cost the square of its length."""
        batches, groups = self._queue.waiting(), {*self._ready, *self._open.values()}

        def place(job: Job) -> Whereabouts:
            assert isinstance(job, _Queued)
            if job.group is not None:
                return Whereabouts.WAITING if job.group in groups else Whereabouts.NOWHERE
            batch = job.batch
            if batch is None or batch in batches:
                return Whereabouts.NOWHERE if batch is None else Whereabouts.WAITING
            worker = batch.worker
            if worker is None or worker.batch is not batch:
                return Whereabouts.NOWHERE
            return Whereabouts.RUNNING if worker.is_alive() else Whereabouts.DEAD

        return place

    def _repair(self) -> bool:
        """Replace workers whose thread has ended, interrupt runs that take too long or that nobody waits for.

        Returns whether any worker is busy.
        """
        for at, worker in enumerate(self._workers):
            batch = worker.batch
            if not worker.is_alive() and not self._closed:
                log.error("the thread of instance %d has died; another one replaces it", at)
                fresh = Worker(worker.instance, self._queue, self._done)
                fresh.start()
                self._workers[at] = fresh
                self._idle = [*(idle for idle in self._idle if idle is not worker), fresh]
                continue
            # Again at each look: a run that was only about to begin does not notice.
            self._queue.interrupt_unwanted(worker)
            if batch is not None and limits.REQUEST_SECONDS and worker not in self._interrupted:
                now = monotonic()
                if now - batch.since > limits.REQUEST_SECONDS:
                    log.error("instance %d has run for more than %g s: interrupting it", at, limits.REQUEST_SECONDS)
                    self._interrupted[worker] = (batch, now)
                    self._queue.interrupt(batch)
        self._dispatch()
        return not self._closed and len(self._idle) < len(self._workers)
