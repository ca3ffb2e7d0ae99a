"""Measure every candidate at every batch size and concurrency, on the machine and with the sessions that will serve.

A caller waits for a free instance, as in the server, and that wait is in its latency. Candidates take turns in short
slices: what else the machine does, and its temperature, then hits all of them alike.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onnxmodel_runtime import probefile
from onnxmodel_runtime.contract import BenchmarkRequest, BenchmarkResult, Candidate, Point, ProviderUse
from onnxmodel_runtime.digests import check_digest
from onnxmodel_runtime.errors import StageError, runtime_message
from onnxmodel_runtime.inputs import Arrays, generate, signature
from onnxmodel_runtime.machine import environment, resident_bytes
from onnxmodel_runtime.progress import step
from onnxmodel_runtime.session import open_session
from onnxmodel_runtime.stats import percentile, significant

MAX_POINTS = 64  # what fits a termination message; test_the_largest_grid_fits_a_termination_message proves it
SLICES = 5
_WARM_UP_SECONDS = 0.2


@dataclass
class _Loaded:
    """A candidate, ready to be measured."""

    candidate: Candidate
    sessions: list[Any]
    use: ProviderUse
    batch: int
    load_seconds: float
    memory_bytes: int = 0


@dataclass
class _Samples:
    """What one candidate did at one point. busy: seconds of its slices; answers: all, also those not in latencies."""

    latencies: list[float] = field(default_factory=list)
    busy: float = 0.0
    answers: int = 0


def benchmark(request: BenchmarkRequest) -> BenchmarkResult:
    """All points. Raises StageError when a candidate cannot be loaded or run."""
    points = len(request.candidates) * len(request.batch_sizes) * len(request.concurrency)
    if not 0 < points <= MAX_POINTS:
        raise StageError(
            "GridTooLarge",
            f"{len(request.candidates)} candidates, {len(request.batch_sizes)} batch sizes and "
            f"{len(request.concurrency)} concurrencies are {points} measurements; between 1 and {MAX_POINTS} are possible",
            "Name fewer batch sizes, concurrencies or variants.",
            "spec.benchmark",
        )
    inputs = _inputs(request)
    loaded = [_load(candidate, request, inputs) for candidate in request.candidates]
    batch_sizes = request.batch_sizes if loaded[0].batch < 0 else (loaded[0].batch,)
    measured = [
        point
        for batch in batch_sizes
        for concurrency in request.concurrency
        for point in _point(loaded, _rows(inputs, batch, loaded[0]), batch, concurrency, request.seconds)
    ]
    use = min((item.use for item in loaded), key=lambda use: use.share_percent)  # the least that is true of all
    return BenchmarkResult(
        tuple(sorted(measured, key=lambda p: [item.candidate.name for item in loaded].index(p.variant))),
        use,
        environment(use.name),
        {item.candidate.name: significant(item.load_seconds) for item in loaded},
        {item.candidate.name: item.memory_bytes for item in loaded},
    )


def _inputs(request: BenchmarkRequest) -> Arrays:
    """One row: the probe's, which is known to run; else made from the first candidate."""
    if request.probe:
        return probefile.read(Path(request.probe))[0]
    import onnx

    signed = signature(onnx.load_model(request.candidates[0].path, load_external_data=False))
    return generate(signed, signed.batch_sizes((1,))[0])


def _load(candidate: Candidate, request: BenchmarkRequest, inputs: Arrays) -> _Loaded:
    step(f"loading {candidate.name}")
    check_digest(Path(candidate.path), candidate.sha256)
    before, started = resident_bytes(), time.perf_counter()
    try:
        opened = [
            open_session(Path(candidate.path), request.providers, candidate.graph_level)
            for _ in range(max(1, request.instances))
        ]
    except StageError:
        raise
    except Exception as error:
        raise _failed(candidate, "be loaded", error) from error
    seconds = time.perf_counter() - started
    sessions = [item.session for item in opened]
    loaded = _Loaded(candidate, sessions, opened[0].use, _fixed_batch(sessions[0]), seconds)
    largest = max(request.batch_sizes)
    step(f"warming {candidate.name} up at batch size {largest}")
    rows = _rows(inputs, largest, loaded)
    try:
        for session in sessions:
            session.run(None, rows)
    except Exception as error:
        raise _failed(candidate, f"run with {largest} rows", error) from error
    loaded.memory_bytes = max(0, resident_bytes() - before)
    return loaded


def _fixed_batch(session: Any) -> int:
    """The batch size of a model that has but one; else -1."""
    return max((value.shape[0] for value in session.get_inputs() if value.shape and _fixed(value.shape[0])), default=-1)


def _fixed(dim: Any) -> bool:
    return isinstance(dim, int) and dim >= 0


def _rows(inputs: Arrays, batch: int, loaded: _Loaded) -> Arrays:
    """The row repeated along the first axis, where that is dynamic."""
    first = {value.name: value.shape[:1] for value in loaded.sessions[0].get_inputs()}
    return {
        name: array if not first[name] or _fixed(first[name][0]) else np.repeat(array, batch, axis=0)
        for name, array in inputs.items()
    }


def _point(loaded: list[_Loaded], rows: Arrays, batch: int, concurrency: int, seconds: float) -> list[Point]:
    step(f"measuring batch size {batch}, concurrency {concurrency}")
    samples = [_Samples() for _ in loaded]
    for item in loaded:
        _slice(item, rows, concurrency, min(_WARM_UP_SECONDS, seconds), _Samples())
    for turn in range(SLICES):
        # Every other turn backwards: who goes first finds the machine as the one before left it.
        for index in range(len(loaded)) if turn % 2 == 0 else reversed(range(len(loaded))):
            _slice(loaded[index], rows, concurrency, seconds / SLICES, samples[index])
    return [
        _summary(item.candidate.name, batch, concurrency, sample) for item, sample in zip(loaded, samples, strict=True)
    ]


def _slice(loaded: _Loaded, rows: Arrays, callers: int, seconds: float, into: _Samples) -> None:
    """`callers` callers for a while, each sending its next request when it has its answer.

    One thread per instance takes requests in the order in which they came, as the server does. A caller needs no thread:
    it is the time at which its request was sent.
    """
    started = time.perf_counter()
    waiting = deque([started] * callers)
    # All callers begin at once, so that a queue builds up first: their first answers say nothing about later ones.
    ramp = callers if callers > len(loaded.sessions) else 0
    latencies: list[float] = []
    failures: list[Exception] = []

    def instance(session: Any) -> None:
        now = started
        while (now - started < seconds or len(latencies) <= ramp) and not failures:
            try:
                sent = waiting.popleft()
            except IndexError:
                return  # more instances than callers
            try:
                session.run(None, rows)
            except Exception as error:
                failures.append(error)
            now = time.perf_counter()
            latencies.append(now - sent)
            waiting.append(now)

    threads = [threading.Thread(target=instance, args=(session,)) for session in loaded.sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise _failed(loaded.candidate, f"run with {callers} callers", failures[0]) from failures[0]
    into.busy += time.perf_counter() - started
    into.answers += len(latencies)
    into.latencies += latencies[ramp:]


def _summary(name: str, batch: int, concurrency: int, samples: _Samples) -> Point:
    ordered = sorted(samples.latencies)
    p50, p95, p99 = (significant(percentile(ordered, percent) * 1000) for percent in (50, 95, 99))
    throughput = significant(batch * samples.answers / samples.busy)
    return Point(name, batch, concurrency, p50, p95, p99, throughput, len(ordered))


def _failed(candidate: Candidate, what: str, error: Exception) -> StageError:
    return StageError(
        "BenchmarkFailed",
        f"{candidate.name} cannot {what}: {runtime_message(error)}",
        "It ran where it was optimized: compare that machine with this one, and use smaller batch sizes.",
        "spec.benchmark",
    )
