"""Run a batch on an instance: its requests together where that works, else one by one."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns, thread_time_ns

import numpy as np

from onnxmodel_runtime.server.datatypes import Array
from onnxmodel_runtime.server.errors import ServerError
from onnxmodel_runtime.server.model import Instance
from onnxmodel_runtime.server.protocol.request import InferRequest
from onnxmodel_runtime.server.recorder import Compute


@dataclass(slots=True)  # one for each request: frozen, it would take three times as long to make
class Answer:
    """The outputs of a request, with the nanoseconds that it waited and ran."""

    outputs: dict[str, Array]
    queue: int
    compute: Compute


@dataclass(slots=True, eq=False)
class Job:
    """An accepted request, and the future of its answer. queued: its time of arrival in nanoseconds."""

    request: InferRequest
    future: "asyncio.Future[Answer]"
    queued: int

    def fail(self, error: BaseException) -> None:
        """End the request with an error, unless it has ended already."""
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of the model, for one job or several. error: the reason for missing results."""

    jobs: Sequence[Job]
    results: Sequence[dict[str, Array]]
    started: int
    compute: Compute
    error: Exception | None = None


def execute(instance: Instance, jobs: Sequence[Job], begin: Callable[[Sequence[Job]], None]) -> list[Execution]:
    """Run the jobs that somebody still waits for. begin: told before each run for which jobs it is."""
    waiting = [job for job in jobs if not job.future.done()]
    if len(waiting) > 1:
        begin(waiting)
        joined = _joined(instance, waiting)
        if joined is not None:
            return [joined]
    executions = []
    for job in waiting:
        if not job.future.done():
            begin((job,))
            executions.append(_alone(instance, job))
    return executions


def _alone(instance: Instance, job: Job) -> Execution:
    started = perf_counter_ns()
    busy = thread_time_ns()  # without what it waits for the interpreter
    try:
        outputs = instance.run(job.request.outputs, job.request.inputs)
    except Exception as error:
        return Execution([job], [], started, Compute(0, 0, 0), error)
    instance.took(thread_time_ns() - busy, job.request.inputs)
    return Execution([job], [outputs], started, Compute(0, perf_counter_ns() - started, 0))


def _joined(instance: Instance, jobs: Sequence[Job]) -> Execution | None:
    """None when the model refuses the batch, or an output has no row for each of its rows: then nothing is lost."""
    started = perf_counter_ns()
    first = jobs[0].request
    try:
        inputs = {name: np.concatenate([job.request.inputs[name] for job in jobs]) for name in first.inputs}
        joined = perf_counter_ns()
        outputs = instance.run(first.outputs, inputs)
    except (ServerError, MemoryError):
        return None  # one bad request must not fail the others; and each alone needs less memory
    ran = perf_counter_ns()
    ends = np.cumsum([job.request.rows for job in jobs])
    if any(array.shape[:1] != (ends[-1],) for array in outputs.values()):
        return None
    parts = {name: np.split(array, ends[:-1]) for name, array in outputs.items()}
    results = [{name: parts[name][at] for name in parts} for at in range(len(jobs))]
    return Execution(jobs, results, started, Compute(joined - started, ran - joined, perf_counter_ns() - ran))
