"""Measure every candidate at every batch size and concurrency, on the machine and with the sessions that will serve.

A caller waits for a free instance, as in the server, and that wait is in its latency. Candidates take turns in short
windows: what else the machine does, and its temperature, then hits all of them alike. windows.py says when it is enough,
and groups.py what happens where memory is too small for all at once.
"""

import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, BenchmarkResult, Candidate, Point
from onnxmodel_runtime.contract.model import BATCH_FIRST, BATCH_NONE
from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.providers import Providers, ProviderUse
from onnxmodel_runtime.errors import StageError, clip, ran_out_of_memory, runtime_message, runtime_words, words
from onnxmodel_runtime.machine import environment
from onnxmodel_runtime.measuring import groups
from onnxmodel_runtime.measuring.profiler import Operator, profile
from onnxmodel_runtime.measuring.windows import (
    PERCENTS,
    Spread,
    Window,
    counted,
    latencies,
    point,
    settled,
    spread,
    stable,
)
from onnxmodel_runtime.models import batch_axis, probefile, sizes, tensorrt
from onnxmodel_runtime.models.artifact import check_digest
from onnxmodel_runtime.models.inputs import Arrays, generate, signature
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.sandbox.memory import Peak, available_bytes, free, resident_bytes
from onnxmodel_runtime.sandbox.progress import log, note, step
from onnxmodel_runtime.stages.culprit import REASON_CHARACTERS
from onnxmodel_runtime.stats import percentile, significant

MAX_POINTS = 112  # 7 candidates, 4 batch sizes, 4 concurrencies; test_the_largest_grid_fits_a_termination_message
_WARM_UP_SECONDS = 0.2
_SLOW_TO_LOAD = 30.0  # seconds; what compiles for so long (TensorRT) is not loaded a second time for a profile
_UNLOADABLE = (
    "Validate the file with the image that measures it (onnxmodel validate): the result says what is wrong with it."
)
_NOT_RUN = (
    "The message has ONNX Runtime's error. Lower spec.benchmark.batchSizes, or set spec.validation.batch: None "
    "if the model has no batch axis. If memory ran out, raise spec.serving.resources.limits.memory."
)


@dataclass
class _Prepared:
    """A candidate, ready to be measured."""

    candidate: Candidate
    sessions: list[Any]
    use: ProviderUse
    batched: bool
    load_seconds: float
    memory_bytes: int = 0


def benchmark(request: BenchmarkRequest) -> BenchmarkResult:
    """Return all points, and write the report to request.directory. Raises StageError if the original is unusable.

    Another candidate that cannot be loaded is left out. One that fails later, or crashes, ends this too;
    stages.apart.run goes on without it. A point of a candidate takes 0.2 + windows * seconds at most, 3.2 s by default,
    and 1.1 s where the first three windows agree. Longer only where single calls are: no window ends before every
    client got an answer, and one of them again.
    """
    points = len(request.candidates) * len(request.batch_sizes) * len(request.concurrency)
    if not 0 < points <= MAX_POINTS:
        raise StageError(
            "GridTooLarge",
            f"{len(request.candidates)} candidates, {len(request.batch_sizes)} batch sizes and "
            f"{len(request.concurrency)} concurrencies are {points} measurements; the number must be from 1 "
            f"to {MAX_POINTS}",
            "Use fewer batch sizes, concurrencies or variants.",
            "spec.benchmark",
        )
    told, inputs = _inputs(request)  # the report has the request as it came
    _start(request.providers)
    original = _load(request.candidates[0], told, inputs)
    batch_sizes = request.batch_sizes if original.batched else (1,)
    left_out = dict(request.left_out)
    waiting = deque(candidate for candidate in request.candidates[1:] if candidate.name not in left_out)
    loaded = [original]
    taken: list[list[groups.Numbers]] = []
    while waiting or not taken:
        others = _beside(original, waiting, told, inputs, left_out)
        if taken and not others:
            break
        taken.append(
            [
                numbers
                for batch in batch_sizes
                for concurrency in request.concurrency
                for numbers in _point([original, *others], _rows(inputs, batch, original), batch, concurrency, request)
            ]
        )
        loaded += others
        for item in others:
            item.sessions.clear()
    measured = groups.joined(taken, original.candidate.name)
    order = [candidate.name for candidate in request.candidates]
    measured.sort(key=lambda numbers: order.index(numbers[0].variant))
    use = min((item.use for item in loaded), key=lambda use: use.share_percent)  # the least that is true of all
    result = BenchmarkResult(
        tuple(point for point, _ in measured),
        use,
        environment(use.name),
        {item.candidate.name: significant(item.load_seconds) for item in loaded},
        {item.candidate.name: item.memory_bytes for item in loaded},
        {item.candidate.name: item.use for item in loaded},
        left_out,
        BATCH_FIRST if original.batched else BATCH_NONE,
        sizes.measured(original.sessions[0].get_inputs(), inputs, batched=original.batched),
    )
    if request.directory:
        rows = _rows(inputs, min(batch_sizes), original)
        original.sessions.clear()  # their memory makes room for one session with a profile
        operators = {item.candidate.name: _profile(item, request.providers, rows) for item in loaded}
        from onnxmodel_runtime.reporting import files  # brings jinja2, which no measurement needs

        try:
            files.write(request, result, tuple(spread for _, spread in measured), operators)
        except Exception:  # a defect of ours; what was measured is worth more than its page
            traceback.print_exc()
    return result


def _start(providers: Providers) -> None:
    """Load what belongs to ONNX Runtime and the driver, so that the first candidate's numbers do not pay for it.

    With one of ONNX Runtime's own example models. What is wrong with the providers, the candidates' own errors say.
    """
    with suppress(Exception):
        from onnxruntime.datasets import get_example

        session = open_session(Path(get_example("mul_1.onnx")), providers).session
        session.run(None, {value.name: np.ones(value.shape, np.float32) for value in session.get_inputs()})


def _inputs(request: BenchmarkRequest) -> tuple[BenchmarkRequest, Arrays]:
    """One row: the probe's, which is known to run; else made from the first candidate, whose batch axis is settled as well."""
    if request.probe:
        return request, probefile.read(Path(request.probe))[0]
    from onnxmodel_runtime.models import graph, repair
    from onnxmodel_runtime.stages.optimize import settled_signature

    first = request.candidates[0]
    path = Path(first.path)
    try:
        session = open_session(path, request.providers).session
    except StageError:
        raise
    except Exception as error:
        raise _failed(first, "be loaded", error, _UNLOADABLE) from error
    model = repair.load(path)
    signed = signature(model, request.batch)
    if request.batch == BATCH_FIRST:  # as a stage found
        return request, generate(sizes.settle(session, signed, lambda: model).signed, 1)
    outputs = tuple(graph.describe(value) for value in model.graph.output)
    signed = settled_signature(
        OptimizeRequest(first.path, first.sha256, "", (), batch=request.batch), signed, outputs, session
    )
    return replace(request, batch=BATCH_NONE if signed.unbatched else BATCH_FIRST), generate(signed, 1)


def _beside(
    original: _Prepared,
    waiting: deque[Candidate],
    request: BenchmarkRequest,
    inputs: Arrays,
    left_out: dict[str, str],
) -> list[_Prepared]:
    """Load those that wait, as far as memory goes, and one at least. Why one cannot be had is told in `left_out`."""
    loaded: list[_Prepared] = []
    while waiting:
        candidate = waiting[0]
        free()
        if loaded and not groups.fits(
            groups.file_bytes(Path(candidate.path)),
            request.instances,
            original.memory_bytes,
            resident_bytes(),
            available_bytes(),
        ):
            break
        try:
            loaded.append(_load(candidate, request, inputs))
        except Exception as error:
            short = not isinstance(error, StageError) and ran_out_of_memory(error)
            if short and loaded:
                break  # it may have enough when these are gone
            if not short and (not isinstance(error, StageError) or error.failure.reason == "CandidatesDiffer"):
                raise
            why = error.failure.message if isinstance(error, StageError) else f"memory ran out: {runtime_words(error)}"
            left_out[candidate.name] = clip(why, REASON_CHARACTERS)
            log(f"{candidate.name} was left out: {why}")
        waiting.popleft()
    if waiting:
        names = ", ".join(candidate.name for candidate in waiting)
        log(f"not enough memory to load all candidates at once; measured later, together with the original: {names}")
    return loaded


def _load(candidate: Candidate, request: BenchmarkRequest, inputs: Arrays) -> _Prepared:
    step(f"loading {candidate.name}", candidate.name)
    check_digest(Path(candidate.path), candidate.sha256, candidate.data_sha256)
    peak, started = Peak(), time.perf_counter()
    try:
        path, most = Path(candidate.path), max(request.batch_sizes)
        providers = tensorrt.tuned(request.providers, path, candidate.sha256, most=most)
        opened = [open_session(path, providers, candidate.graph_level) for _ in range(max(1, request.instances))]
    except StageError:
        raise
    except Exception as error:
        raise _failed(candidate, "be loaded", error, _UNLOADABLE) from error
    seconds = time.perf_counter() - started
    sessions = [item.session for item in opened]
    loaded = _Prepared(candidate, sessions, opened[0].use, _batched(sessions[0], request, inputs), seconds)
    if odd := {value.name for value in sessions[0].get_inputs()} ^ set(inputs):
        raise StageError(
            "CandidatesDiffer",
            f"{candidate.name} is not the same model as {request.candidates[0].name}: only one of them has "
            f"input {min(odd)!r}",
            "Compare files of one model: variants have the same inputs as the original.",
        )
    largest = max(request.batch_sizes) if loaded.batched else 1
    step(f"running batch size {largest} with {candidate.name}", candidate.name)
    rows = _rows(inputs, largest, loaded)
    try:
        for session in sessions:
            session.run(None, rows)
    except Exception as error:
        raise _failed(candidate, f"run with {largest} rows" if loaded.batched else "run the probe", error) from error
    loaded.memory_bytes = peak.added()
    return loaded


def _batched(session: Any, request: BenchmarkRequest, inputs: Arrays) -> bool:
    """Return whether the row can be repeated along axis 0: it is a batch, and the probe has one row of it."""
    return batch_axis.one_row(inputs) and not batch_axis.of_session(session, request.batch)


def _rows(inputs: Arrays, batch: int, loaded: _Prepared) -> Arrays:
    """The row repeated along axis 0; the inputs as they are where that is no batch."""
    if not loaded.batched:
        return inputs
    return {name: np.repeat(array, batch, axis=0) for name, array in inputs.items()}


def _point(
    loaded: list[_Prepared], rows: Arrays, batch: int, concurrency: int, request: BenchmarkRequest
) -> Iterator[tuple[Point, Spread]]:
    what = f"measuring batch size {batch}, concurrency {concurrency}"
    step(what)
    for item in loaded:
        note(f"{what} with {item.candidate.name}", item.candidate.name)
        _window(item, rows, min(concurrency, len(item.sessions)), min(_WARM_UP_SECONDS, request.seconds))
    taken: list[list[Window]] = [[] for _ in loaded]
    for turn in range(request.windows):
        # Every other turn backwards: who goes first finds the machine as the one before left it.
        for index in range(len(loaded)) if turn % 2 == 0 else reversed(range(len(loaded))):
            name = loaded[index].candidate.name
            note(f"{what} with {name}", name)
            taken[index].append(_window(loaded[index], rows, concurrency, request.seconds))
        if settled(taken, request.stable_percent):
            break
    used = counted(taken, request.stable_percent)
    for item, windows, mine in zip(loaded, taken, used, strict=True):
        noisy = not stable(windows, request.stable_percent)
        varies = spread(mine, used[0])  # the original comes first
        yield _summary(item.candidate.name, batch, concurrency, mine, noisy=noisy, varies=varies, windows=len(windows))


def _window(loaded: _Prepared, rows: Arrays, callers: int, seconds: float) -> Window:
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
        raise _failed(loaded.candidate, f"run with {callers} concurrent clients", failures[0]) from failures[0]
    return Window(time.perf_counter() - started, len(latencies), sorted(latencies[ramp:]))


def _summary(
    name: str, batch: int, concurrency: int, used: Sequence[Window], *, noisy: bool, varies: int, windows: int
) -> tuple[Point, Spread]:
    ordered = latencies(used)
    milliseconds = tuple(significant(percentile(ordered, rank) * 1000) for rank in PERCENTS)
    found = point(name, batch, concurrency, used, ordered, noisy=noisy, spread=varies)
    return found, Spread(name, batch, concurrency, windows, milliseconds)


def _profile(item: _Prepared, providers: Providers, rows: Arrays) -> tuple[Operator, ...]:
    """For the report alone: what goes wrong here spoils no measurement."""
    name = item.candidate.name
    if item.load_seconds > _SLOW_TO_LOAD:
        log(f"no profile of {name}: it takes {item.load_seconds:.0f} s to load")
        return ()
    step(f"profiling {name}", name)
    free()  # the session before
    try:
        return profile(item.candidate, providers, rows, sum(item.use.nodes.values()))
    except Exception as error:
        log(f"no profile of {name}: {clip(words(error), 200)}")
        return ()


def _failed(candidate: Candidate, what: str, error: Exception, hint: str = _NOT_RUN) -> StageError:
    message = f"{candidate.name} cannot {what}: {runtime_message(error)}"
    return StageError("BenchmarkFailed", message, hint, "spec.benchmark")
