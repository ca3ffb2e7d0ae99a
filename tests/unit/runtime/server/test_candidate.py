"""A candidate's answer is the same, another one, or none: whatever it does, within a bounded time."""

import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxmodel_runtime.contract.model import Tensor, Tolerance
from onnxmodel_runtime.server import candidate as candidates
from onnxmodel_runtime.server import service
from onnxmodel_runtime.server.candidate import BusyError, Counterpart, NoAnswerError, size_of
from onnxmodel_runtime.server.datatypes import NUMPY
from onnxmodel_runtime.server.protocol.request import BYTEWISE, InferRequest, ModelSpec
from tests.unit.runtime import server_support as support

BOUND = Tolerance(1e-2, 1e-3, 0.999)
SPEC = ModelSpec("m", (Tensor("x", "FP32", (-1, 3)),), (Tensor("y", "FP32", (-1, 3)),))
X = np.ones((2, 3), np.float32)
REQUEST = InferRequest("", {"x": X}, ("y",), 2)


def asked(port: int, outputs: Any = None, spec: ModelSpec = SPEC, request: InferRequest = REQUEST) -> Any:
    candidate = Counterpart(spec.name, "0a", lambda: (support.HOST, port))
    try:
        return candidate.differs(spec, request, {"y": 2 * X} if outputs is None else outputs, BOUND)
    finally:
        candidate.close()


@pytest.fixture(scope="module")
def doubles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    path = support.double(tmp_path_factory.mktemp("models"))
    with pytest.MonkeyPatch.context() as patch, support.in_thread(support.request(path, name="m")) as server:
        patch.setattr(service, "REST", 0.0)
        yield server.ports[0]


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        (2 * X, (False, 0.0)),
        (2 * X + np.float32(0.015), (False, 0.015)),
        (2 * X + np.float32(0.5), (True, 0.5)),
        (np.full((2, 3), np.nan, np.float32), (True, 0.0)),
        (np.ones((2, 4), np.float32), (True, 0.0)),
    ],
)
def test_an_answer_of_a_real_server_is_judged_by_the_tolerance(doubles: int, outputs: Any, found: Any) -> None:
    differs, largest = asked(doubles, {"y": outputs})
    assert (differs, largest) == (found[0], pytest.approx(found[1], abs=1e-3))


def test_a_request_that_the_candidate_refuses_is_another_answer(doubles: int) -> None:
    wide = InferRequest("", {"x": np.ones((2, 5), np.float32)}, ("y",), 2)
    assert asked(doubles, {"y": np.ones((2, 5), np.float32)}, request=wide) == (True, 0.0)
    other = ModelSpec("m", SPEC.inputs, (Tensor("y", "FP64", (-1, 3)),))
    assert asked(doubles, {"y": 2.0 * X.astype(np.float64)}, other) == (True, 0.0)


def test_every_datatype_is_compared(tmp_path: Path) -> None:
    path = support.identity(tmp_path)
    with support.in_thread(support.request(path, name="m")) as server:
        spec = server._service._model.spec  # type: ignore[union-attr]
        inputs: dict[str, Any] = {}
        for tensor in spec.inputs:
            text = tensor.datatype == "BYTES"
            value = np.array(["a", "ü", ""], object) if text else np.array([0, 1, 1], NUMPY[tensor.datatype])
            inputs[tensor.name] = value.reshape(1, 3)
        outputs = {name.replace("in_", "out_"): array for name, array in inputs.items()}
        request = InferRequest("", inputs, tuple(outputs), 1)
        assert asked(server.ports[0], outputs, spec, request) == (False, 0.0)
        for name, array in outputs.items():
            server._service._rested = 0.0
            changed = np.array([["a", "ü", "b"]], object) if array.dtype.kind == "O" else 1 - array.astype(int)
            differs, _ = asked(server.ports[0], outputs | {name: changed.astype(array.dtype)}, spec, request)
            assert differs, name


def test_bits_of_bf16_are_compared_as_numbers() -> None:
    spec = ModelSpec("m", (), (Tensor("y", "BF16", (-1,)),))
    one, close = np.array([0x3F80], np.uint16), np.array([0x3F81], np.uint16)
    found = candidates._comparable(close, spec.outputs[0].datatype, "")
    assert found.dtype == np.float32
    assert found[0] == pytest.approx(1.0, rel=0.01)
    assert candidates._comparable(one, "BF16", "")[0] == 1.0


def test_strings_that_are_no_text_are_their_bytes() -> None:
    disguised = np.array(["\xff"], object)
    assert candidates._comparable(disguised, "BYTES", BYTEWISE)[0] == b"\xff"


def reply(status: str, body: bytes = b"", **headers: Any) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(outputs: Any, blob: bytes = b"") -> bytes:
    head = json.dumps({"outputs": outputs}).encode()
    return reply("200 OK", head + blob, **{"Inference-Header-Content-Length": len(head)})


Y = {"name": "y", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (answer([Y], (2 * X).tobytes()), (False, 0.0)),
        (answer([]), (True, 0.0)),
        (answer([Y | {"datatype": "FP64"}], (2 * X).tobytes()), (True, 0.0)),
        (answer([Y | {"name": "z"}], (2 * X).tobytes()), (True, 0.0)),
        (reply("503 Service Unavailable"), BusyError),
        (reply("500 Internal Server Error"), NoAnswerError),
        (reply("404 Not Found"), NoAnswerError),
        (reply("200 OK", b"{}"), NoAnswerError),
        (answer([Y]), NoAnswerError),
        (answer([Y | {"shape": [-1, -1]}], (2 * X).tobytes()), NoAnswerError),
        (answer([Y | {"parameters": None}]), NoAnswerError),
        (answer({"name": "y"}), NoAnswerError),
        (answer("[" * 100_000), NoAnswerError),
        (b"", NoAnswerError),
        (b"hello\r\n\r\n", NoAnswerError),
        (reply("200 OK", b"x" * (3 << 20)), (True, 0.0)),
        (reply("500 Internal Server Error", b"x" * (3 << 20)), NoAnswerError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"100000\r\n" + b"x" * (2 << 20), NoAnswerError),
    ],
)
def test_whatever_it_says_is_an_answer_or_none(said: bytes, found: Any) -> None:
    class Says(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            self.request.sendall(said)
            self.request.shutdown(socket.SHUT_WR)
            self.request.settimeout(1)
            with suppress(OSError):  # closed with a part of the request unread, it would reset the connection
                while self.request.recv(1 << 16):
                    pass

    with support.listening(Says) as port:
        if isinstance(found, tuple):
            assert asked(port) == found
        else:
            with pytest.raises(found):
                asked(port)


@pytest.mark.parametrize(("wait", "seconds"), [("7", 7), ("soon", 0), ("²", 0), ("9" * 5000, 0)])
def test_one_that_refuses_a_large_request_unread_says_for_how_long(wait: str, seconds: int) -> None:
    class Refuses(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(100)
            self.request.sendall(
                reply("503 Service Unavailable", **{"Retry-After": wait, "Connection": "close"}).replace(
                    "²".encode(), b"\xb2"
                )
            )
            self.request.shutdown(socket.SHUT_WR)
            while self.request.recv(1 << 16):
                pass

    large = InferRequest("", {"x": np.ones((1 << 18, 3), np.float32)}, ("y",), 2)
    with support.listening(Refuses) as port, pytest.raises(BusyError) as refused:
        asked(port, request=large)
    assert refused.value.seconds == seconds


def test_one_that_is_not_there_gives_no_answer() -> None:
    with support.listening(socketserver.BaseRequestHandler) as port:
        pass
    with pytest.raises(NoAnswerError):
        asked(port)
    nowhere = Counterpart("m", "0a", lambda: ("no-such-host.invalid.", 1))
    with pytest.raises(NoAnswerError):
        nowhere.differs(SPEC, REQUEST, {"y": X}, BOUND)


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n"])
def test_one_that_never_finishes_is_broken_off(first: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "LIMIT_SECONDS", 0.2)
    over = threading.Event()

    class Drips(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            self.request.sendall(first)
            with suppress(OSError):
                while not over.wait(0.02):
                    self.request.sendall(b"x")

    with support.listening(Drips) as port:
        candidate, ended = Counterpart("m", "0a", lambda: (support.HOST, port)), threading.Event()

        def ask() -> None:
            with pytest.raises(NoAnswerError):
                candidate.differs(SPEC, REQUEST, {"y": X}, BOUND)
            ended.set()

        thread = threading.Thread(target=ask)
        thread.start()
        began = time.monotonic()
        while not ended.wait(0.05) and time.monotonic() - began < 10:
            candidate.hurry()
        took = time.monotonic() - began
        over.set()
        thread.join()
    assert 0.2 <= took < 10


def test_a_connection_that_was_closed_meanwhile_is_opened_again() -> None:
    connections: list[int] = []

    class Once(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            connections.append(1)
            self.request.recv(1 << 16)
            self.request.sendall(answer([Y], (2 * X).tobytes()))

    with support.listening(Once) as port:
        candidate = Counterpart("m", "0a", lambda: (support.HOST, port))
        for _ in range(3):
            assert candidate.differs(SPEC, REQUEST, {"y": 2 * X}, BOUND) == (False, 0.0)
        candidate.close()
    assert len(connections) == 3


def test_a_part_counts_as_all_that_it_keeps_in_memory() -> None:
    whole = np.zeros((100, 10), np.float32)
    assert size_of(whole[:1]) == whole.nbytes
    assert size_of(np.split(whole, [1])[0]) == whole.nbytes
    assert size_of(np.array(["abc", b"abc"], object)) >= 6
