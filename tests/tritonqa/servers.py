"""One port for many models: a server of ours for each, and a proxy in front that knows the model by its name.

Triton has all models in one server; ours has one. The proxy hands on what it gets, byte by byte over HTTP and message by
message over gRPC: what clients see is the server's own.
"""

import asyncio
import hashlib
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from socket import create_connection
from typing import Any
from urllib.parse import unquote

import grpc
from tritonclient.grpc import service_pb2

from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.server.main import Server
from tests.tritonqa.models import Model

HOST = "127.0.0.1"
_SERVICE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_SIZES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Servers:
    """The servers, each started when its model is asked for the first time."""

    def __init__(self, models: dict[str, Model]) -> None:
        self._models = models
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Server, threading.Thread]] = {}

    def ports(self, name: str) -> tuple[int, int]:
        """HTTP and gRPC of the server that has the model; of any one where none has."""
        if name not in self._models:
            name = next(iter(self._models))
        with self._lock:
            if name not in self._running:
                self._running[name] = self._start(name)
            return self._running[name][0].ports[:2]

    def stop(self) -> None:
        """End them all."""
        for server, _ in self._running.values():
            server.stop()
        for _, thread in self._running.values():
            thread.join()

    def _start(self, name: str) -> tuple[Server, threading.Thread]:
        model = self._models[name]
        server = Server(
            ServeRequest(
                name=name,
                model=str(model.path),
                sha256=hashlib.sha256(model.path.read_bytes()).hexdigest(),
                host=HOST,
                http_port=0,
                grpc_port=0,
                metrics_port=0,
                max_batch_size=model.max_batch_size,
                **model.options,
            )
        )
        failed: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(server.run())
            except BaseException as error:
                failed.append(error)
                server.ready.set()

        thread = threading.Thread(target=run)
        thread.start()
        assert server.ready.wait(60), f"{name} did not start"
        if failed:
            raise failed[0]
        return server, thread


class HttpProxy(socketserver.ThreadingTCPServer):
    """HTTP/1.1, a thread for each connection."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        super().__init__((HOST, 0), _Connection)


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        opened: dict[int, Any] = {}
        assert isinstance(self.server, HttpProxy)
        try:
            while head := _head(self.rfile):
                path = unquote(head.split(b" ", 2)[1].decode("latin-1"))
                found = re.match(r"/v2/models/([^/]+)", path)
                port = self.server.servers.ports(found[1] if found else "")[0]
                if port not in opened:
                    connection = create_connection((HOST, port))
                    opened[port] = (connection, connection.makefile("rb"))
                connection, answers = opened[port]
                connection.sendall(head)
                for piece in _body(head, self.rfile):
                    connection.sendall(piece)
                answer = _head(answers)
                self.wfile.write(answer)
                if not head.startswith(b"HEAD "):
                    for piece in _body(answer, answers):
                        self.wfile.write(piece)
                if not answer or b"connection: close" in answer.lower():
                    return
        except ConnectionError:
            pass
        finally:
            for connection, answers in opened.values():
                answers.close()
                connection.close()


def _head(file: Any) -> bytes:
    lines = bytearray()
    while line := file.readline():
        lines += line
        if line == b"\r\n":
            return bytes(lines)
    return b""


def _body(head: bytes, file: Any) -> Iterator[bytes]:
    if _CHUNKED.search(head):
        while line := file.readline():
            size = int(line.split(b";")[0], 16)
            yield line
            if not size:
                yield _head(file) if (rest := file.readline()) != b"\r\n" else rest
                return
            yield file.read(size + 2)
    elif found := _LENGTH.search(head):
        left = int(found[1])
        while left:
            piece = file.read(min(left, 1 << 20))
            if not piece:
                return
            left -= len(piece)
            yield piece


class GrpcProxy(grpc.GenericRpcHandler):  # type: ignore[misc]
    """gRPC, without a look at more than the model's name."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._channels: dict[int, grpc.Channel] = {}
        self._server = grpc.server(ThreadPoolExecutor(32), handlers=[self], options=_SIZES)
        self.port = self._server.add_insecure_port(f"{HOST}:0")
        self._server.start()

    def stop(self) -> None:
        """Close all."""
        self._server.stop(0).wait()
        for channel in self._channels.values():
            channel.close()

    def service(self, details: Any) -> Any:
        """How a method is handled."""
        name = details.method.rpartition("/")[2]
        method = _SERVICE.methods_by_name.get(name)
        if method is None:
            return None
        parse = getattr(service_pb2, method.input_type.name).FromString
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(lambda r, c: self._stream(details.method, parse, r, c))
        return grpc.unary_unary_rpc_method_handler(lambda r, c: self._unary(details.method, parse, r, c))

    def _channel(self, message: Any) -> grpc.Channel:
        name = getattr(message, "model_name", "") or getattr(message, "name", "")
        port = self._servers.ports(name)[1]
        if port not in self._channels:
            self._channels[port] = grpc.insecure_channel(f"{HOST}:{port}", options=_SIZES)
        return self._channels[port]

    def _unary(self, path: str, parse: Callable[[bytes], Any], request: bytes, context: Any) -> Any:
        left = context.time_remaining()
        timeout = left if left is not None and left < 3600 else None
        try:
            return self._channel(parse(request)).unary_unary(path)(request, timeout=timeout)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())

    def _stream(
        self, path: str, parse: Callable[[bytes], Any], requests: Iterator[bytes], context: Any
    ) -> Iterator[bytes]:
        first = next(requests, None)
        if first is None:
            return

        def again() -> Iterator[bytes]:
            yield first
            yield from requests

        try:
            yield from self._channel(parse(first)).stream_stream(path)(again())
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
