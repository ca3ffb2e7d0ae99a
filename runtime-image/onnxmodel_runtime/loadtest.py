"""Measure a revision before it takes traffic: through a Service of its own, as its clients will ask it.

The benchmark compares variants without a server in between; this says what a client gets of the one that was chosen. The
callers are threads with a connection each and one request, made once: what is measured is the way to the model and back,
as little of the client itself as there can be.
"""

import contextlib
import socket
import threading
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httptools
import numpy as np

from onnxmodel_runtime import probefile
from onnxmodel_runtime.client import WAIT_SECONDS, as_taken, over_http
from onnxmodel_runtime.contract import Load, LoadTestRequest, LoadTestResult, Point
from onnxmodel_runtime.errors import StageError, clip
from onnxmodel_runtime.probefile import Arrays
from onnxmodel_runtime.progress import log, step
from onnxmodel_runtime.stats import percentile, significant
from onnxmodel_runtime.windows import STABLE, Window, stable

_WARM_UP_SECONDS = 0.5
_ANSWER_SECONDS = 120.0
_WORDS = 1000  # bytes of an answer that are kept, for its error


def loadtest(request: LoadTestRequest, *, wait: float = WAIT_SECONDS) -> LoadTestResult:
    """A point for each load. Raises StageError: LoadRefused, or, which may pass, ServiceUnreachable and RevisionMismatch."""
    inputs, expected = probefile.read(Path(request.probe))
    with contextlib.closing(over_http(request.host, request.http_port)) as client:
        step(f"waiting for {request.name} at {client.address}")
        client.wait_ready(request.name, request.revision, time.monotonic() + wait)
        shapes = client.shapes(request.name)
        messages = {
            load: _message(request, client.tensors(_rows(inputs, shapes, load)), tuple(expected))
            for load in request.loads
        }
    points = []
    for load, message in messages.items():
        step(f"measuring batch size {load.batch_size}, concurrency {load.concurrency}")
        points.append(_point(request, load, _measure(request, load, message)))
        log(f"p50 {points[-1].p50:g} ms, p99 {points[-1].p99:g} ms, {points[-1].throughput:g} rows per second")
    return LoadTestResult(tuple(points), request.replicas)


def _rows(inputs: Arrays, shapes: dict[str, tuple[int, ...]], load: Load) -> Arrays:
    """The row repeated along the first axis, where that is dynamic, in the shapes that the server takes."""
    rows = {
        name: np.repeat(array, load.batch_size, axis=0) if array.ndim and shapes.get(name, ())[:1] == (-1,) else array
        for name, array in inputs.items()
    }
    return as_taken(rows, shapes)


def _message(request: LoadTestRequest, tensors: list[Any], outputs: tuple[str, ...]) -> bytes:
    """The whole of an HTTP request."""
    from tritonclient.http import InferenceServerClient, InferRequestedOutput

    wanted = [InferRequestedOutput(name) for name in outputs]
    body, head = InferenceServerClient.generate_request_body(tensors, outputs=wanted)
    lines = (
        f"POST /v2/models/{request.name}/infer HTTP/1.1",
        f"Host: {request.host}:{request.http_port}",
        "Content-Type: application/octet-stream",
        f"Inference-Header-Content-Length: {head}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + bytes(body)


class _Caller(threading.Thread):
    """Sends its next request when it has the answer to the one before, until it is told to stop."""

    def __init__(self, request: LoadTestRequest, message: bytes) -> None:
        super().__init__(daemon=True)
        self.answers: list[tuple[float, float]] = []  # when each came, and how long it took
        self.failure: StageError | None = None
        self.stop = threading.Event()
        self._request, self._message = request, message
        self._content, self._complete = b"", False

    def run(self) -> None:
        """Until told to stop, or a request fails."""
        address = (self._request.host, self._request.http_port)
        try:
            with socket.create_connection(address, _ANSWER_SECONDS) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                parser = httptools.HttpResponseParser(self)
                while not self.stop.is_set():
                    self._content, self._complete = b"", False
                    sent = time.perf_counter()
                    connection.sendall(self._message)
                    while not self._complete:
                        received = connection.recv(1 << 18)
                        if not received:
                            raise ConnectionResetError("the connection was closed")
                        parser.feed_data(received)
                    came = time.perf_counter()
                    if parser.get_status_code() != HTTPStatus.OK:
                        raise self._refused(parser.get_status_code())
                    self.answers.append((came, came - sent))
        except StageError as error:
            self.failure = error
        except (OSError, httptools.HttpParserError) as error:
            self.failure = StageError(
                "ServiceUnreachable",
                f"{address[0]}:{address[1]} broke off under load: {error or type(error).__name__}",
                "Look at the server's log. It is tried again.",
                retry=True,
            )

    def on_body(self, part: bytes) -> None:
        """Called by the parser. Only the words of an error are of interest."""
        if len(self._content) < _WORDS:
            self._content += part[:_WORDS]

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._complete = True

    def _refused(self, status: int) -> StageError:
        return StageError(
            "LoadRefused",
            f"{self._request.name} at {self._request.host} refuses a request under load with status {status}: "
            f"{clip(self._content.decode(errors='replace'), 300)}",
            "Raise serving.batching.maxQueueSize or defaultTimeoutMicroseconds, or lower benchmark.concurrency; the server's "
            "log says more.",
            retry=status == HTTPStatus.SERVICE_UNAVAILABLE,
        )


def _measure(request: LoadTestRequest, load: Load, message: bytes) -> list[Window]:
    """Windows under load until the last three agree; it never pauses between them."""
    callers = [_Caller(request, message) for _ in range(load.concurrency)]
    for caller in callers:
        caller.start()
    windows: list[Window] = []
    try:
        _window(callers, _WARM_UP_SECONDS)
        while len(windows) < request.windows and not stable(windows, request.stable_percent):
            windows.append(_window(callers, request.seconds))
    finally:
        for caller in callers:
            caller.stop.set()
        for caller in callers:
            caller.join(_ANSWER_SECONDS)
    return windows


def _window(callers: list[_Caller], seconds: float) -> Window:
    """What came within it. It ends when its time is over, and not before every caller was answered."""
    began, before = time.perf_counter(), [len(caller.answers) for caller in callers]
    while True:
        time.sleep(seconds)
        for caller in callers:
            if caller.failure:
                raise caller.failure
        if all(len(caller.answers) > count for caller, count in zip(callers, before, strict=True)):
            break
    ended = time.perf_counter()
    came = [
        took
        for caller, count in zip(callers, before, strict=True)
        for at, took in caller.answers[count:]
        if at <= ended
    ]
    return Window(ended - began, len(came), sorted(came))


def _point(request: LoadTestRequest, load: Load, windows: list[Window]) -> Point:
    noisy = not stable(windows, request.stable_percent)
    used = windows if noisy else windows[-STABLE:]
    ordered = sorted(latency for window in used for latency in window.latencies)
    p50, p90, p95, p99 = (significant(percentile(ordered, rank) * 1000) for rank in (50, 90, 95, 99))
    rate = sum(window.answers for window in used) / sum(window.seconds for window in used)
    return Point(
        variant=request.variant,
        batch_size=load.batch_size,
        concurrency=load.concurrency,
        p50=p50,
        p95=p95,
        p99=p99,
        throughput=significant(load.batch_size * rate),
        samples=len(ordered),
        p90=p90,
        noisy=noisy,
    )
