"""Hand batches from the event loop to the threads of the instances.

A batch is complete before any thread can see it, and never changes afterwards. At every moment it is in one place: in
the queue, or with one worker. Both facts change together, under one lock, so that two threads never take the same batch
and nobody takes one that was withdrawn.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic

from onnxmodel_runtime.server.execution import Execution, Job, execute
from onnxmodel_runtime.server.model import Instance


class Batch:
    """Jobs that run together. worker: guarded by the queue's lock; None while the batch waits in the queue.

    since: when the worker took it.
    """

    __slots__ = ("jobs", "since", "worker")

    def __init__(self, jobs: tuple[Job, ...]) -> None:
        self.jobs = jobs
        self.worker: Worker | None = None
        self.since = 0.0


Report = Callable[["Worker", Batch, list[Execution], BaseException | None, bool], None]
"""Callback by which a worker reports each batch to the event loop. Last argument: whether the worker is idle now."""


class RunQueue:
    """Batches that can run at once, first come, first served. batches: changed under the lock alone."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.batches: deque[Batch] = deque()

    def put(self, batch: Batch) -> None:
        """Offer a complete batch to all workers."""
        with self.lock:
            self.batches.append(batch)

    def take(self, worker: "Worker") -> Batch | None:
        """Take the next batch for the worker. None if there is none, which makes the worker idle."""
        with self.lock:
            batch = self.batches.popleft() if self.batches else None
            if batch is not None:
                batch.worker, batch.since = worker, monotonic()
            worker.batch, worker.running = batch, ()
            return batch

    def give(self, worker: "Worker", batch: Batch) -> None:
        """Give an idle worker a batch that was never in the queue."""
        with self.lock:
            batch.worker, batch.since, worker.batch = worker, monotonic(), batch

    def withdraw(self, batch: Batch) -> bool:
        """Take a batch out of the queue. Returns False if a worker has it."""
        with self.lock:
            if batch.worker is not None:
                return False
            with contextlib.suppress(ValueError):
                self.batches.remove(batch)
            return True

    def waiting(self) -> frozenset[Batch]:
        """Return the batches that no worker has taken yet."""
        with self.lock:
            return frozenset(self.batches)

    def interrupt(self, batch: Batch) -> None:
        """Make the batch's run fail at the model's next node, if it still runs."""
        with self.lock:  # its worker cannot go on to another batch meanwhile
            worker = batch.worker
            if worker is not None and worker.batch is batch:
                worker.instance.interrupt()

    def begin(self, worker: "Worker", jobs: Sequence[Job]) -> None:
        """Record that the worker is about to run the model for these jobs."""
        with self.lock:
            worker.running = jobs

    def interrupt_unwanted(self, worker: "Worker") -> None:
        """Make the worker's run fail at the model's next node if all of its jobs have ended: nobody reads its answer."""
        with self.lock:  # the worker cannot begin another run meanwhile
            if worker.running and all(job.future.done() for job in worker.running):
                worker.instance.interrupt()


class Worker(Thread):
    """The thread of an instance. It runs what start_on gives it, and then what it finds in the queue: no round trip through
    the event loop lies between two runs.

    batch: what it works on; running: the jobs of it that the model runs for. The queue's lock guards both.
    """

    def __init__(self, instance: Instance, queue: RunQueue, report: Report) -> None:
        super().__init__(name="instance", daemon=True)
        self.instance = instance
        self.batch: Batch | None = None
        self.running: Sequence[Job] = ()
        self._queue = queue
        self._report = report
        self._inbox: SimpleQueue[Batch | None] = SimpleQueue()

    def start_on(self, batch: Batch) -> None:
        """Run a batch that the queue has given to this worker, which was idle."""
        self._inbox.put(batch)

    def finish(self) -> None:
        """End the thread once it is idle."""
        self._inbox.put(None)

    def run(self) -> None:
        """Work until asked to finish."""
        while (batch := self._inbox.get()) is not None:
            self._work(batch)

    def _work(self, first: Batch) -> None:
        batch: Batch | None = first
        while batch is not None:
            executions: list[Execution] = []
            failure: BaseException | None = None
            try:
                executions = execute(self.instance, batch.jobs, partial(self._queue.begin, self))
            except BaseException as error:
                failure = error
            next_ = self._queue.take(self)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop = batch.jobs[0].future.get_loop()
                loop.call_soon_threadsafe(self._report, self, batch, executions, failure, next_ is None)
            batch = next_
