"""Ask a candidate, another revision of the same model, what was answered here, and judge whether its answer is the same.

It runs in a thread of its own. A candidate is on trial: whatever it answers, or how slowly, is bounded and harms nobody.
"""

import http.client
import json
import random
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.message import Message
from time import monotonic
from typing import Any

import numpy as np

from onnxmodel_runtime.contract.compare import COMPARED_HEADER
from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.models import parity
from onnxmodel_runtime.server.datatypes import NUMPY, Array, pack_bytes, unpack_bytes
from onnxmodel_runtime.server.protocol.request import InferRequest, ModelSpec, Outputs
from onnxmodel_runtime.server.protocol.rest import LENGTH_HEADER

TIMEOUT_SECONDS = 5.0
"""Time for each of a candidate's packets."""
LIMIT_SECONDS = 15.0
"""Time for all of an answer."""
_KEPT_SECONDS = 10.0
"""Age at which a connection is replaced, so that all pods of the candidate are asked."""
_ROOM = 1 << 20
_DIGITS = 6
_CHUNK = 1 << 16
_RAW = "BYTES"
_BITS = "BF16"

Where = Callable[[], tuple[str, int]]


class BusyError(Exception):
    """The candidate has other things to do. seconds: for so long, as it says; 0: it does not."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds


class NoAnswerError(Exception):
    """The candidate gave no answer that could be compared."""


class _TooLargeError(Exception):
    """The candidate's answer is much larger than the one that was given."""


class Counterpart:
    """The candidate's end of a connection."""

    def __init__(self, model: str, revision: str, where: Where) -> None:
        """where: a host's name and its port."""
        self.revision = revision
        self._path, self._where = f"/v2/models/{model}/infer", where
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None  # the connection forgets its own once it knows that it will close
        self._opened = self._asked = 0.0

    def differs(self, spec: ModelSpec, request: InferRequest, outputs: Outputs, bound: Tolerance) -> tuple[bool, float]:
        """Return whether the candidate's answer is another one, and the largest difference between numbers.

        Raises BusyError, NoAnswerError.
        """
        datatypes = {tensor.name: tensor.datatype for tensor in (*spec.inputs, *spec.optional, *spec.outputs)}
        head, parts = _encoded(request, datatypes)
        most = 2 * sum(map(size_of, outputs.values())) + _ROOM
        self._asked = monotonic()
        try:
            status, headers, body = self._exchange(head, parts, most)
        except _TooLargeError:
            return True, 0.0  # nobody needs the rest of it
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(type(error).__name__) from error
        finally:
            self._asked = 0.0
        if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
            wait = headers.get("Retry-After", "")
            raise BusyError(int(wait) if wait.isascii() and wait.isdigit() and len(wait) < _DIGITS else 0.0)
        if status == http.HTTPStatus.BAD_REQUEST:
            return True, 0.0  # it refuses what this revision answers
        if status != http.HTTPStatus.OK:
            raise NoAnswerError(f"status {status}")
        try:
            answers = _decoded(body, int(headers.get(LENGTH_HEADER, "")), request.outputs, datatypes)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise NoAnswerError(type(error).__name__) from error
        if answers is None:
            return True, 0.0
        expected = {name: _comparable(array, datatypes[name], request.encoding) for name, array in outputs.items()}
        with np.errstate(all="ignore"):
            found = parity.compare(answers, expected, bound)
        return not found.passed, found.max_absolute

    def hurry(self) -> None:
        """Break off an exchange that takes too long. May be called from any thread."""
        began, sock = self._asked, self._socket
        if began and monotonic() - began > LIMIT_SECONDS and sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = self._socket = None

    def _exchange(self, head: bytes, parts: list[Any], most: int) -> tuple[int, Message, bytes]:
        """Status, headers and body. A kept connection may have been closed since: then once more."""
        kept = self._connection is not None and monotonic() - self._opened < _KEPT_SECONDS
        if not kept:
            self.close()
        for again in (kept, False):
            try:
                return self._send(head, parts, most)
            except (OSError, http.client.HTTPException):
                self.close()
                if not again:
                    raise
        raise AssertionError("unreachable")

    def _send(self, head: bytes, parts: list[Any], most: int) -> tuple[int, Message, bytes]:
        connection = self._connection or self._open()
        size = len(head) + sum(memoryview(part).nbytes for part in parts)
        connection.putrequest("POST", self._path)
        headers = {"Content-Length": size, LENGTH_HEADER: len(head), COMPARED_HEADER: "1"}
        for name, value in {**headers, "Content-Type": "application/octet-stream"}.items():
            connection.putheader(name, str(value))
        if size <= _CHUNK:
            head, parts = b"".join([head, *parts]), []
        connection.endheaders(head)  # which sends both at once
        for part in parts:
            connection.send(part)
        answer = connection.getresponse()
        body = bytearray()
        while chunk := answer.read(_CHUNK):
            body += chunk
            if len(body) > most:
                self.close()
                raise _TooLargeError if answer.status == http.HTTPStatus.OK else http.client.HTTPException
        if answer.will_close:
            self.close()
        return answer.status, answer.headers, bytes(body)

    def _open(self) -> http.client.HTTPConnection:
        host, port = self._where()
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        address = str(random.choice(found)[4][0])
        self._connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_SECONDS)
        self._opened = monotonic()
        self._connection.connect()
        self._socket = self._connection.sock
        return self._connection


def size_of(array: Array) -> int:
    """Return the bytes that an array keeps in memory: a part of a larger one keeps all of it."""
    if array.dtype.kind == "O":
        return sum(64 + len(element) for element in array.flat)
    whole = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    return whole.nbytes


def _encoded(request: InferRequest, datatypes: Mapping[str, str]) -> tuple[bytes, list[Any]]:
    """The JSON of a request, and its tensors, which are not copied."""
    inputs, parts = [], list[Any]()
    for name, array in request.inputs.items():
        datatype = datatypes[name]
        if datatype == _RAW:
            part: Any = pack_bytes(_bytes(element, request.encoding) for element in array.flat)
        else:
            part = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        size = {"binary_data_size": len(part)}
        inputs.append({"name": name, "datatype": datatype, "shape": list(array.shape), "parameters": size})
        parts.append(part)
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name in request.outputs]
    return json.dumps({"inputs": inputs, "outputs": outputs}).encode(), parts


def _decoded(body: bytes, length: int, names: tuple[str, ...], datatypes: Mapping[str, str]) -> dict[str, Array] | None:
    """The outputs. None where one is missing or of another datatype: the answer is another one."""
    found, at = dict[str, Array](), length
    for item in json.loads(body[:length])["outputs"]:
        name, datatype, size = item["name"], item["datatype"], item["parameters"]["binary_data_size"]
        blob, at = memoryview(body)[at : at + size], at + size
        if name not in names or datatypes[name] != datatype:
            return None
        if datatype == _RAW:
            array = np.array([bytes(element) for element in unpack_bytes(blob)], dtype=object)
        else:
            array = np.frombuffer(blob, NUMPY[datatype])
        found[name] = _comparable(array.reshape(item["shape"]), datatype, "")
    return found if found.keys() >= set(names) else None


def _comparable(array: Array, datatype: str, encoding: str) -> Array:
    """The values as parity compares them: strings are bytes, and BF16, of which there are bits alone, is FP32."""
    if datatype == _RAW:
        return np.array([_bytes(element, encoding) for element in array.flat], dtype=object).reshape(array.shape)
    if datatype == _BITS:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _bytes(element: Any, encoding: str) -> bytes:
    return element if isinstance(element, bytes) else str(element).encode(encoding)
