"""The least handler, for any front: it runs the model inline, parses nothing that it need not, checks nothing, counts nothing.

As an ASGI application, `peer:app`; `python -m peer aio|threads HTTP_PORT GRPC_PORT` serves gRPC by grpcio. In the
environment of the fronts: the rest of the project is not there.
"""

import asyncio
import os
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime as ort

SHAPE, BYTES = (1, 16), 64  # of the tensor, which ends a request and an answer
HEADS = {protocol: bytes.fromhex(os.environ[f"FRONT_{protocol.upper()}"]) for protocol in ("http", "grpc")}
_options = ort.SessionOptions()
_options.intra_op_num_threads = _options.inter_op_num_threads = 1
_session = ort.InferenceSession(os.environ["FRONT_MODEL"], _options, providers=["CPUExecutionProvider"])
_HTTP = [
    (b"content-type", b"application/octet-stream"),
    (b"inference-header-content-length", b"%d" % len(HEADS["http"])),
    (b"content-length", b"%d" % (len(HEADS["http"]) + BYTES)),
]


def infer(body: bytes, protocol: str) -> bytes:
    """The answer: what is always the same, and the output."""
    x = np.frombuffer(body, np.float32, offset=len(body) - BYTES).reshape(SHAPE)
    y: np.ndarray = _session.run(["y"], {"x": x})[0]
    return HEADS[protocol] + y.tobytes()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """HTTP/1.1 as the protocol has it, and gRPC where the front speaks HTTP/2 and knows trailers."""
    assert scope["type"] == "http"
    message = await receive()
    body = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    if scope["method"] == "GET":  # ready
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})
    elif scope["http_version"] == "2":
        answer = infer(body, "grpc")
        headers = [(b"content-type", b"application/grpc")]
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
        await send({"type": "http.response.body", "body": b"\0" + len(answer).to_bytes(4) + answer})
        await send({"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": _HTTP})
        await send({"type": "http.response.body", "body": infer(body, "http")})


def main() -> None:
    """Serve gRPC, messages as bytes."""
    import grpc
    import uvloop

    kind, ready, port = sys.argv[1], int(sys.argv[2]), sys.argv[3]

    def served(server: Any, handler: Any) -> Any:
        methods = {"ModelInfer": grpc.unary_unary_rpc_method_handler(handler)}
        name = "inference.GRPCInferenceService"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        return server

    async def serve() -> None:
        async def handler(body: bytes, _context: Any) -> bytes:
            return infer(body, "grpc")

        server = served(grpc.aio.server(), handler)
        await server.start()
        threading.Thread(target=_say_ready, args=(ready,)).start()
        await server.wait_for_termination()

    if kind == "aio":
        uvloop.install()
        asyncio.run(serve())
    else:
        server = served(grpc.server(ThreadPoolExecutor(8)), lambda body, _context: infer(body, "grpc"))
        server.start()
        _say_ready(ready)
        server.wait_for_termination()


def _say_ready(port: int) -> None:
    """To the one HTTP request that asks; grpcio speaks no HTTP/1.1."""
    with socket.create_server(("127.0.0.1", port)) as server, server.accept()[0] as connection:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


if __name__ == "__main__":
    main()
