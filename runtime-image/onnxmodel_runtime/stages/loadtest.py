"""Prove and measure one server of a revision before it takes traffic, with requests like its clients'.

The benchmark compares variants without a server in between; this measures what a client gets of the chosen one. The
callers are threads with a connection each and one request, made once: what is measured is the way to the model and
back, as little of the client itself as there can be.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httptools
import numpy as np

from onnxmodel_runtime.contract.loadtest import Load, LoadTestRequest, LoadTestResult
from onnxmodel_runtime.contract.model import BATCH_FIRST, BATCH_NONE, Parity
from onnxmodel_runtime.contract.text import plain
from onnxmodel_runtime.errors import StageError, clip
from onnxmodel_runtime.measuring.client import WAIT_SECONDS, Client, as_sent, as_taken, decoded, over_http
from onnxmodel_runtime.measuring.windows import Window, latencies, point, stable
from onnxmodel_runtime.models import batch_axis, parity, probefile
from onnxmodel_runtime.models.probefile import Arrays
from onnxmodel_runtime.sandbox.progress import log, step

_WARM_UP_SECONDS = 2.0  # kubelet and container runtime use the CPU for a moment after a pod has started
_ANSWER_SECONDS = 120.0
_LEAST = 5  # windows: where an answer takes 10 ms, the p99 is then the fifth highest latency of one caller
_BODIES = 4  # different answers that a caller keeps, to be compared: joined with others, its rows differ by a little
_MOST_BYTES = 64 << 20  # of a request that is made to prove the largest batch
_PAUSE_SECONDS = 0.5


def loadtest(request: LoadTestRequest, *, wait: float = WAIT_SECONDS) -> LoadTestResult:
    """Measure a point for each load. Raises StageError.

    Reasons: LoadTestMismatch, LoadRefused, ProbeRefused, and, which may pass, ServiceUnreachable and RevisionMismatch.
    """
    row, expected = probefile.read(Path(request.probe))
    deadline = time.monotonic() + wait
    step(f"looking for a server of {request.name} at {request.host}")
    address = _address(request, deadline)
    with contextlib.closing(over_http(address, request.http_port)) as client:
        client.wait_ready(request.name, request.revision, deadline)
        rows = _Rows(row, client, request)
        loads = rows.possible(request.loads)
        answers = dict(_proven(client, request, loads, rows, expected))
        messages = {
            load: _message(request, client.tensors(rows.repeated(load.batch_size)), tuple(expected)) for load in loads
        }
    points, unit = [], "rows" if rows.batched else "inferences"
    for load, message in messages.items():
        step(f"measuring batch size {load.batch_size}, concurrency {load.concurrency}")
        windows, bodies = _measure(request, (address, request.http_port), load, message)
        for body in bodies.items():
            what = f"{_count(load.batch_size)} from each of {load.concurrency} concurrent clients"
            _compare(request, decoded(*body, tuple(expected)), answers[load.batch_size], what)
        noisy = not stable(windows, request.stable_percent)
        points.append(
            point(request.variant, load.batch_size, load.concurrency, windows, latencies(windows), noisy=noisy)
        )
        p50, p99, rate = (plain(value) for value in (points[-1].p50, points[-1].p99, points[-1].throughput))
        log(f"p50 {p50} ms, p99 {p99} ms, {rate} {unit} per second")
    return LoadTestResult(tuple(points), BATCH_FIRST if rows.batched else BATCH_NONE)


def _address(request: LoadTestRequest, deadline: float) -> str:
    """Of one server: a name may stand for several. A new name needs a moment to be known."""
    while True:
        try:
            found = socket.getaddrinfo(request.host, request.http_port, type=socket.SOCK_STREAM)
            return str(found[0][4][0])
        except OSError as error:
            if time.monotonic() > deadline:
                raise StageError(
                    "ServiceUnreachable",
                    f"{request.host} has no address: {error.strerror or error}",
                    "Check that the server's pods are ready, and the cluster's DNS. It is retried.",
                    retry=True,
                ) from error
        time.sleep(_PAUSE_SECONDS)


class _Rows:
    """The probe's inputs in the shapes that the server takes."""

    def __init__(self, row: Arrays, client: Client, request: LoadTestRequest) -> None:
        inputs, outputs = client.signature(request.name)
        self._row, self._shapes = row, {tensor.name: tensor.shape for tensor in inputs}
        self.batched = batch_axis.one_row(row) and batch_axis.present(inputs, outputs, request.batch)
        self.bytes = sum(array.nbytes for array in row.values())

    def possible(self, loads: tuple[Load, ...]) -> tuple[Load, ...]:
        """Return the distinct loads. Without a batch axis each sends single inferences, so that some are the same."""
        return loads if self.batched else tuple(dict.fromkeys(Load(1, load.concurrency) for load in loads))

    def repeated(self, count: int) -> Arrays:
        """Return so many rows, or the inputs unchanged if the model has no batch axis."""
        if not self.batched:
            return as_taken(self._row, self._shapes)
        return as_taken({name: np.repeat(array, count, axis=0) for name, array in self._row.items()}, self._shapes)


def _proven(
    client: Client, request: LoadTestRequest, loads: tuple[Load, ...], rows: _Rows, expected: Arrays
) -> Iterator[tuple[int, Arrays]]:
    """Yield the proven outputs for each batch size: of the loads, and of the largest batch."""
    sizes = {load.batch_size for load in loads}
    if rows.batched:
        sizes |= {1, max(1, min(request.max_batch_size, _MOST_BYTES // max(1, rows.bytes)))}
    step(f"comparing the outputs for batches of {', '.join(map(str, sorted(sizes)))} with the original model's")
    for size in sorted(sizes):
        answers, _ = client.infer(request.name, rows.repeated(size), tuple(expected))
        wanted = _repeated(expected, size)
        together = rows.batched and size > 1
        if together and not _compared(request, answers, wanted).passed and _influenced(client, request, rows, expected):
            log(f"rows of one batch influence each other: outputs for {size} are only compared with each other")
            wanted = answers
        _compare(request, answers, wanted, _count(size))
        yield size, wanted


def _influenced(client: Client, request: LoadTestRequest, rows: _Rows, expected: Arrays) -> bool:
    """Return whether equal rows may have different outputs. Where the graph was not judged, two rows are tried."""
    if request.unjoined is not None:
        return bool(request.unjoined)
    two, _ = client.infer(request.name, rows.repeated(2), tuple(expected))
    return not _compared(request, two, _repeated(expected, 2)).passed


def _count(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows} rows"


def _repeated(expected: Arrays, size: int) -> Arrays:
    return {
        name: np.repeat(array, size, axis=0) if array.shape[:1] == (1,) else array for name, array in expected.items()
    }


def _compared(request: LoadTestRequest, answers: Arrays, wanted: Arrays) -> Parity:
    return parity.compare(as_sent(answers, wanted), wanted, request.tolerance)


def _compare(request: LoadTestRequest, answers: Arrays, wanted: Arrays, what: str) -> None:
    measured = _compared(request, answers, wanted)
    if not measured.passed:
        raise StageError(
            "LoadTestMismatch",
            f"{request.name} returns different outputs from the original model for {what}: "
            f"{parity.explain(measured, request.tolerance)}",
            "If several rows differ and one does not, the rows of a batch influence each other: set "
            "spec.serving.batching.maxBatchSize: 1. If one row differs too, several kinds of nodes in a "
            "pool, or Triton's own ONNX Runtime, compute differently: use one pool for each kind of node, "
            "or serving.runtime: onnxruntime. If the difference is small, relax spec.optimization.parity.",
        )


def _message(request: LoadTestRequest, tensors: list[Any], outputs: tuple[str, ...]) -> bytes:
    """The whole of an HTTP request."""
    from tritonclient.http import InferenceServerClient, InferRequestedOutput

    wanted = [InferRequestedOutput(name) for name in outputs]
    body, head = InferenceServerClient.generate_request_body(tensors, outputs=wanted)
    host = f"[{request.host}]" if ":" in request.host else request.host
    lines = (
        f"POST /v2/models/{request.name}/infer HTTP/1.1",
        f"Host: {host}:{request.http_port}",
        "Content-Type: application/octet-stream",
        *(() if head is None else (f"Inference-Header-Content-Length: {head}",)),  # None: no input, and no binary data
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + bytes(body)


class _Sender(threading.Thread):
    """Sends its next request when it has the answer to the one before, until it is told to stop."""

    def __init__(self, request: LoadTestRequest, address: tuple[str, int], message: bytes) -> None:
        super().__init__(daemon=True)
        self.taken: list[tuple[float, float]] = []  # when an answer came, and how long it took
        self.bodies: dict[bytes, int] = {}  # different answers, and how long their heads are
        self.failure: StageError | None = None
        self.stop = threading.Event()
        self._request, self._address, self._message = request, address, message
        self._parts: list[bytes] = []
        self._head, self._complete = 0, False

    def run(self) -> None:
        """Until told to stop, or a request fails."""
        try:
            with socket.create_connection(self._address, _ANSWER_SECONDS) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._ask(connection)
        except StageError as error:
            self.failure = error
        except (OSError, httptools.HttpParserError) as error:
            self.failure = StageError(
                "ServiceUnreachable",
                f"the connection to {self._request.host} was interrupted under load: {error or type(error).__name__}",
                "The server may have terminated or run out of memory under this load: check the restarts and "
                "the log of its pods. It is retried.",
                retry=True,
            )

    def _ask(self, connection: socket.socket) -> None:
        parser, last = httptools.HttpResponseParser(self), b""
        while not self.stop.is_set():
            self._parts.clear()
            self._complete = False
            sent = time.perf_counter()
            connection.sendall(self._message)
            while not self._complete:
                received = connection.recv(1 << 18)
                if not received:
                    raise ConnectionResetError("the connection was closed")
                parser.feed_data(received)
            came = time.perf_counter()
            body = b"".join(self._parts)
            if parser.get_status_code() != HTTPStatus.OK:
                raise _refused(self._request, parser.get_status_code(), body)
            if body != last:
                last = body
                if len(self.bodies) < _BODIES:
                    self.bodies[body] = self._head
            self.taken.append((came, came - sent))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        if name.lower() == b"inference-header-content-length":
            self._head = int(value)

    def on_body(self, part: bytes) -> None:
        """Called by the parser."""
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._complete = True


def _refused(request: LoadTestRequest, status: int, body: bytes) -> StageError:
    hint = "The message has the server's reason, and its log may have more."
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        hint = "Raise spec.serving.batching.maxQueueSize or defaultTimeoutMicroseconds, or lower spec.benchmark.concurrency."
    return StageError(
        "LoadRefused",
        f"{request.name} refuses a request under load with status {status}: {clip(body.decode(errors='replace'), 300)}",
        hint,
        retry=status >= HTTPStatus.INTERNAL_SERVER_ERROR,
    )


def _measure(
    request: LoadTestRequest, address: tuple[str, int], load: Load, message: bytes
) -> tuple[list[Window], dict[bytes, int]]:
    """Windows under load until the last three agree, without a pause between them; and the different answers that came.

    All of them count. Those that agree are the quiet ones: a benchmark that compares candidates looks at these alone, but no
    client is spared the others.
    """
    least = min(_LEAST, request.windows)
    callers = [_Sender(request, address, message) for _ in range(load.concurrency)]
    for caller in callers:
        caller.start()
    windows: list[Window] = []
    try:
        _window(callers, _WARM_UP_SECONDS)
        while len(windows) < least or (len(windows) < request.windows and not stable(windows, request.stable_percent)):
            windows.append(_window(callers, request.seconds))
    finally:
        for caller in callers:
            caller.stop.set()
        for caller in callers:
            caller.join(_ANSWER_SECONDS)
    return windows, {body: head for caller in callers for body, head in caller.bodies.items()}


def _window(callers: list[_Sender], seconds: float) -> Window:
    """Measure one window. It ends when its time is over, but not before every client got an answer."""
    began, before = time.perf_counter(), [len(caller.taken) for caller in callers]
    while True:
        time.sleep(seconds)
        for caller in callers:
            if caller.failure:
                raise caller.failure
        if all(len(caller.taken) > count for caller, count in zip(callers, before, strict=True)):
            break
    ended = time.perf_counter()
    came = [
        took for caller, count in zip(callers, before, strict=True) for at, took in caller.taken[count:] if at <= ended
    ]
    return Window(ended - began, len(came), sorted(came))
