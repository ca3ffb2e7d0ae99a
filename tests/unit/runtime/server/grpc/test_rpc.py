"""HTTP/2 and gRPC, with clients that write bytes."""

import asyncio
import contextlib
import gzip
import socket
import struct
import subprocess
from pathlib import Path
from threading import Event, Thread
from typing import Any

import grpc
import hpack
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from dev.cluster.golang import go
from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.grpc import rpc
from onnxmodel_runtime.server.http2 import connection, frames, sending, transport
from onnxmodel_runtime.server.main import Server
from tests.unit.runtime import server_support as support
from tests.unit.runtime.server_support import connected

PATH = "/inference.GRPCInferenceService/"


class Client:
    """As much of an HTTP/2 client as a test needs."""

    def __init__(self, sock: socket.socket, settings: bytes = b"") -> None:
        self.socket = sock
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.buffer = b""
        sock.sendall(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0, settings))

    def head(self, number: int, method: str = "ServerLive", ended: bool = False, **headers: str) -> bytes:
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": PATH + method,
            "te": "trailers",
            "content-type": "application/grpc",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        flags = frames.END_HEADERS | (frames.END_STREAM if ended else 0)
        return frames.frame(frames.HEADERS, flags, number, self.encoder.encode(fields))

    def data(self, number: int, message: Any = b"", ended: bool = True) -> bytes:
        body = message if isinstance(message, bytes) else message.SerializeToString()
        return frames.frame(
            frames.DATA, frames.END_STREAM if ended else 0, number, b"\0" + struct.pack(">I", len(body)) + body
        )

    def frame(self) -> tuple[int, int, int, bytes]:
        """The next one. EOFError at the connection's end."""
        while True:
            if len(self.buffer) >= 9:
                high, low, kind, flags, number = frames.FRAME.unpack_from(self.buffer)
                end = 9 + (high << 16 | low)
                if len(self.buffer) >= end:
                    payload, self.buffer = self.buffer[9:end], self.buffer[end:]
                    return kind, flags, number, payload
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self.buffer += data

    def status(self, number: int) -> tuple[str, str]:
        """Of the call, once it is over."""
        while True:
            kind, flags, found, payload = self.frame()
            if kind == frames.HEADERS:
                fields = {str(name): str(value) for name, value in self.decoder.decode(payload)}
                if found == number and flags & frames.END_STREAM:
                    return fields["grpc-status"], fields.get("grpc-message", "")

    def until(self, wanted: int) -> bytes:
        """The payload of the next frame of a kind."""
        while True:
            kind, _, _, payload = self.frame()
            if kind == wanted:
                return payload


def infer(values: Any) -> Any:
    x = np.float32([values])
    message = service_pb2.ModelInferRequest(model_name="double")
    message.inputs.add(name="x", datatype="FP32", shape=x.shape)
    message.raw_input_contents.append(x.tobytes())
    return message


def test_conformance(server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    """h2spec, all of it but one case, which takes it for granted that frames are limited to 16 KiB."""
    program = tmp_path_factory.getbasetemp() / "h2spec"
    module = Path(__file__).parents[2] / "h2spec"
    package = "github.com/summerwind/h2spec/cmd/h2spec"
    subprocess.run([go(), "build", "-o", program, package], cwd=module, check=True)
    command = [str(program), "-h", support.HOST, "-p", str(server.ports[1]), "-o", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    failed = [line.strip() for line in done.stdout.partition("Failures:")[2].splitlines() if "×" in line]
    assert [line for line in failed if "exceeds the SETTINGS_MAX_FRAME_SIZE" not in line] == [], done.stdout
    assert " 0 skipped" in done.stdout


def test_what_is_not_grpc(server: Server) -> None:
    with connected(server, 1) as sock:
        client = Client(sock)
        sock.sendall(client.head(1, content_type="text/plain", ended=True))
        client.until(frames.HEADERS)
        assert client.until(frames.DATA) == b"this port speaks gRPC\n"
        sock.sendall(client.head(3, "Nothing") + client.data(3))
        assert client.status(3) == ("12", f"there is no method {PATH}Nothing")
    with connected(server, 1) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while sock.recv(4096):
                pass


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, "13"),
        (b"\0\0\0\0", {}, "13"),
        (b"\0\0\0\0\x05abc", {}, "12"),
        (b"\0\0\0\0\0\0\0\0\0\0", {}, "12"),
        (b"\1\0\0\0\0", {}, "13"),
        (b"\1\0\0\0\x01x", {"grpc_encoding": "gzip"}, "13"),
        (b"\1\0\0\0\x01x", {"grpc_encoding": "snappy"}, "12"),
        (b"\0\xff\xff\xff\xff", {}, "8"),
        (b"\0\0\0\0\x03\xff\xff\xff", {}, "13"),
    ],
)
def test_broken_messages(server: Server, body: bytes, headers: dict[str, str], status: str) -> None:
    with connected(server, 1) as sock:
        client = Client(sock)
        sock.sendall(client.head(1, "ModelInfer", **headers))
        sock.sendall(frames.frame(frames.DATA, frames.END_STREAM, 1, body))
        found, message = client.status(1)
        assert found == status
        assert message


def test_a_message_that_is_announced_too_large(server: Server) -> None:
    """It is refused at once, whatever comes of it."""
    with connected(server, 1) as sock:
        client = Client(sock)
        for number, cut in ((1, 5), (3, 2)):
            prefix = b"\0" + struct.pack(">I", limits.MAX_REQUEST + 1)
            sock.sendall(client.head(number, "ModelInfer") + frames.frame(frames.DATA, 0, number, prefix[:cut]))
            sock.sendall(frames.frame(frames.DATA, 0, number, prefix[cut:] + b"x"))
            assert client.status(number)[0] == "8"


def test_a_message_that_is_larger_than_announced(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives counts, not only what its prefix tells."""
    monkeypatch.setattr(limits, "MAX_REQUEST", 100)
    with connected(server, 1) as sock:
        client = Client(sock)
        sock.sendall(client.head(1, "ModelInfer") + frames.frame(frames.DATA, 0, 1, b"\0\0\0\0\1"))
        for _ in range(2):
            sock.sendall(frames.frame(frames.DATA, 0, 1, bytes(51)))
        assert client.status(1) == ("8", "Received message larger than max (102 vs. 100)")


def test_messages_in_pieces(server: Server) -> None:
    with connected(server, 1) as sock:
        client = Client(sock)
        head, body = client.head(1, "ModelInfer"), infer([1, 2]).SerializeToString()
        pieces = [
            frames.frame(frames.DATA, 0, 1, bytes([byte])) for byte in b"\0" + struct.pack(">I", len(body)) + body
        ]
        for byte in head + b"".join(pieces) + frames.frame(frames.DATA, frames.END_STREAM, 1, b""):
            sock.sendall(bytes([byte]))
        assert client.status(1)[0] == "0"


def test_a_stream_in_pieces(server: Server) -> None:
    with connected(server, 1) as sock:
        client = Client(sock)
        sock.sendall(client.head(1, "ModelStreamInfer"))
        body = infer([1, 2]).SerializeToString()
        whole = (b"\0" + struct.pack(">I", len(body)) + body) * 3
        for at in range(0, len(whole), 7):
            sock.sendall(frames.frame(frames.DATA, 0, 1, whole[at : at + 7]))
        for _ in range(3):
            answer = service_pb2.ModelStreamInferResponse.FromString(client.until(frames.DATA)[5:])
            assert np.frombuffer(answer.infer_response.raw_output_contents[0], np.float32).tolist() == [2, 4]
        sock.sendall(frames.frame(frames.DATA, frames.END_STREAM, 1, b""))
        assert client.status(1)[0] == "0"
        sock.sendall(
            client.head(3, "ModelStreamInfer") + frames.frame(frames.DATA, frames.END_STREAM, 3, b"\0\0\0\0\x05abc")
        )
        assert client.status(3)[0] == "13"


def test_windows_are_respected(server: Server) -> None:
    """A client that takes seven bytes at a time gets the whole answer."""
    with connected(server, 1) as sock:
        client = Client(sock, struct.pack(">HI", 4, 7))
        sock.sendall(client.head(1, "ModelInfer") + client.data(1, infer([1, 2, 3])))
        seen = b""
        while True:
            kind, flags, _, payload = client.frame()
            if kind == frames.DATA:
                assert len(payload) <= 7
                seen += payload
                sock.sendall(frames.frame(frames.WINDOW_UPDATE, 0, 1, struct.pack(">I", len(payload))))
            elif kind == frames.HEADERS and flags & frames.END_STREAM:
                break
    answer = service_pb2.ModelInferResponse.FromString(seen[5:])
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [2, 4, 6]


def window(number: int, size: int) -> bytes:
    return frames.frame(frames.WINDOW_UPDATE, 0, number, struct.pack(">I", size))


def pong(client: Client) -> None:
    """All that was sent has been read."""
    client.socket.sendall(frames.frame(frames.PING, 0, 0, bytes(8)))
    client.until(frames.PING)


def test_answers_that_the_client_has_no_window_for(
    server: Server, monkeypatch: pytest.MonkeyPatch, runs: list[int]
) -> None:
    """No request is begun while too many bytes wait, and the connection goes on as soon as the client lets it."""
    monkeypatch.setattr(sending, "MAX_UNSENT", 10_000)
    monkeypatch.setattr(limits, "INLINE_NS", 1 << 60)
    x = list(range(1000))
    with connected(server, 1) as sock:
        client = Client(sock, struct.pack(">HI", 4, 0))
        for number in range(1, 41, 2):
            sock.sendall(client.head(number, "ModelInfer") + client.data(number, infer(x)))
            pong(client)
        assert len(runs) == 3  # of 4 kB
        sock.sendall(frames.frame(frames.RST_STREAM, 0, 1, bytes(4)))
        pong(client)
        support.wait_until(lambda: len(runs) > 3)
        sock.sendall(b"".join(window(number, 10_000) for number in range(3, 41, 2)))
        ended = 0
        while ended < 19:
            kind, flags, _, _ = client.frame()
            ended += kind == frames.HEADERS and bool(flags & frames.END_STREAM)
            if kind == frames.DATA:
                sock.sendall(window(0, 10_000))
        before = len(runs)
        sock.sendall(client.head(41, "ModelInfer") + client.data(41, infer(x)) + window(41, 10_000))
        assert client.status(41)[0] == "0"
        assert before == 20
        assert len(runs) == 21


def test_a_stream_that_the_client_has_no_window_for(server: Server, runs: list[int]) -> None:
    with connected(server, 1) as sock:
        client = Client(sock, struct.pack(">HI", 4, 0))
        sock.sendall(client.head(1, "ModelStreamInfer") + client.data(1, infer([1, 2]), ended=False))
        client.until(frames.HEADERS)  # and its answer waits
        for _ in range(10):
            sock.sendall(client.data(1, infer([1, 2]), ended=False))
            pong(client)
        assert len(runs) == 1
        sock.sendall(window(1, 10_000) + client.data(1, infer([3, 4])))
        assert client.status(1)[0] == "0"
        assert len(runs) == 12


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
@pytest.mark.parametrize("whose", ["stream", "connection"])
def test_a_window_that_stays_closed(server: Server, monkeypatch: pytest.MonkeyPatch, method: str, whose: str) -> None:
    """A stream's ends the stream; the connection's ends the connection."""
    monkeypatch.setattr(limits, "READ_SECONDS", 0.1)
    with connected(server, 1) as sock:
        client = Client(sock, struct.pack(">HI", 4, 100 if whose == "stream" else 1 << 20))
        sock.sendall(client.head(1, method) + client.data(1, infer(range(20_000))))
        if whose == "stream":
            assert client.until(frames.RST_STREAM) == struct.pack(">I", frames.CANCEL)
            sock.sendall(client.head(3) + client.data(3))
            assert client.status(3)[0] == "0"
        else:
            with pytest.raises((EOFError, ConnectionError)):
                client.until(frames.RST_STREAM)


def test_large_messages_both_ways(server: Server) -> None:
    x = np.arange(3 << 20, dtype=np.float32)
    with grpc.insecure_channel(
        f"{support.HOST}:{server.ports[1]}", [("grpc.max_receive_message_length", -1)]
    ) as channel:
        call = channel.unary_unary(PATH + "ModelInfer")
        answer = service_pb2.ModelInferResponse.FromString(call(infer(x).SerializeToString()))
    np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float32), x * 2)


def test_a_message_that_is_too_large(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_REQUEST", 1000)
    with grpc.insecure_channel(f"{support.HOST}:{server.ports[1]}") as channel:
        for size in (2000, 3 << 20):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(PATH + "ModelInfer")(bytes(size))
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert channel.unary_unary(PATH + "ServerLive")(b"")


def test_memory_of_messages_is_counted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BODIES", 100)
    with connected(server, 1) as sock:
        client = Client(sock)
        sock.sendall(client.head(1, "ModelInfer") + frames.frame(frames.DATA, 0, 1, b"\0\0\0\1\0" + bytes(60)))
        sock.sendall(client.head(3, "ModelInfer") + frames.frame(frames.DATA, 0, 3, b"\0\0\0\1\0" + bytes(60)))
        assert client.status(3) == ("14", "the server holds too many large requests")
        sock.sendall(frames.frame(frames.RST_STREAM, 0, 1, bytes(4)))  # what it held is free again
        sock.sendall(client.head(5, "ModelInfer") + client.data(5, infer([1, 2])))
        assert client.status(5)[0] == "0"


def test_memory_of_streams_is_counted(server: Server, monkeypatch: pytest.MonkeyPatch, release: Event) -> None:
    message = infer([1, 2])
    size = len(message.SerializeToString()) + 5 + 64
    monkeypatch.setattr(limits, "MAX_BODIES", 3 * size)
    refused = ("14", "the server holds too many large requests")
    with connected(server, 1) as sock:
        client = Client(sock)
        sock.sendall(
            client.head(1, "ModelStreamInfer") + frames.frame(frames.DATA, 0, 1, b"\0\0\0\1\0" + bytes(2 * size))
        )
        sock.sendall(client.head(3, "ModelInfer") + frames.frame(frames.DATA, 0, 3, b"\0\0\0\1\0" + bytes(2 * size)))
        assert client.status(3) == refused  # because of a message that is not whole
        sock.sendall(frames.frame(frames.RST_STREAM, 0, 1, bytes(4)))
        sock.sendall(client.head(5, "ModelStreamInfer"))
        for _ in range(4):
            sock.sendall(client.data(5, message, ended=False))
        assert client.status(5) == refused  # because of messages that have no answer
        sock.sendall(client.head(9, "ModelStreamInfer") + frames.frame(frames.DATA, 0, 9, bytes(5) * 10))
        assert client.status(9) == refused  # empty ones take memory too
        release.set()
        sock.sendall(client.head(11, "ModelStreamInfer"))
        for _ in range(10):  # and with it all is free again
            sock.sendall(client.data(11, message, ended=False))
            client.until(frames.DATA)
        sock.sendall(client.data(11, message))
        assert client.status(11)[0] == "0"


async def test_many_messages_in_one_frame() -> None:
    """What is left behind them is put by once, not once for each; and what belongs to one is joined once."""

    class Watched(rpc.Call):
        put = 0

        @property
        def chunks(self) -> list[bytes]:
            return self._chunks

        @chunks.setter
        def chunks(self, value: list[bytes]) -> None:
            self._chunks = value
            Watched.put += 1

    async def take(messages: Any, call: rpc.Call) -> Any:
        async for message in messages:
            yield message

    methods = rpc.Methods({b"/x": rpc.Method(stream=take)})
    connection = transport.Http2(Watched, methods, set())
    head = {b":path": b"/x", b":method": b"POST", b"content-type": b"application/grpc"}
    call = Watched(connection, 1, head, 0)
    call.on_head()
    before = Watched.put
    call.on_data(bytes(5) * 20_000 + b"\0\0\0\x27\x10", False)
    assert Watched.put == before + 1
    for _ in range(9_999):
        call.on_data(b"x", False)
    assert Watched.put == before + 1
    call.on_data(b"x" + bytes(3), False)
    assert Watched.put == before + 2
    assert call.messages is not None
    assert (len(call.messages), call.messages[-1], call.chunks) == (
        20_001,
        b"\0\0\0\x27\x10" + b"x" * 10_000,
        [bytes(3)],
    )
    call.on_gone()


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_memory_of_compressed_messages_is_counted(server: Server, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(limits, "MAX_BODIES", 10_000)
    with connected(server, 1) as sock:
        client = Client(sock)
        for number, columns, status in ((1, 1000, "0"), (3, 100_000, "14"), (5, 1000, "0"), (7, 1000, "0")):
            packed = gzip.compress(infer(np.zeros(columns)).SerializeToString())
            body = b"\1" + struct.pack(">I", len(packed)) + packed
            sock.sendall(client.head(number, method, grpc_encoding="gzip"))
            sock.sendall(frames.frame(frames.DATA, frames.END_STREAM, number, body))
            assert client.status(number)[0] == status


def test_a_stream_with_much_to_do(server: Server, monkeypatch: pytest.MonkeyPatch, release: Event) -> None:
    """It gets no more window until there are answers."""
    monkeypatch.setattr(limits, "MAX_REQUEST", 300_000)
    with connected(server, 1) as sock:
        client = Client(sock, struct.pack(">HI", 4, 1 << 20))
        sock.sendall(window(0, 1 << 20) + client.head(1, "ModelStreamInfer"))
        data = client.data(1, infer(range(50_000)))[9:]
        for at in range(0, 3 * len(data), 100_000):
            sock.sendall(frames.frame(frames.DATA, 0, 1, (data * 3)[at : at + 100_000]))
        sock.sendall(frames.frame(frames.PING, 0, 0, bytes(8)))
        windows = []
        while (frame := client.frame())[0] != frames.PING:
            windows += [frame[2]] if frame[0] == frames.WINDOW_UPDATE else []
        assert 1 not in windows
        release.set()
        while (frame := client.frame())[:3] != (frames.WINDOW_UPDATE, 0, 1):
            assert frame[0] == frames.DATA or frame[2] != 1 or not frame[1] & frames.END_STREAM


def test_slow_messages_of_a_stream(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "READ_SECONDS", 0.1)
    with connected(server, 1) as sock:
        client = Client(sock)
        whole = client.data(1, infer([1, 2]), ended=False)
        sock.sendall(client.head(1, "ModelStreamInfer") + whole + frames.frame(frames.DATA, 0, 1, b""))
        sock.sendall(client.head(3, "ModelStreamInfer") + client.data(3, infer([1, 2]), ended=False))
        sock.sendall(frames.frame(frames.DATA, 0, 3, b"\0\0"))
        assert client.status(3) == ("4", "the request did not arrive within 0 s")
        sock.sendall(client.data(1, infer([1, 2])))  # between two messages it may take its time
        assert client.status(1)[0] == "0"


def test_deadlines(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(server, 1) as sock:
        client = Client(sock)
        sock.sendall(client.head(1, "ModelStreamInfer", grpc_timeout="50m"))
        assert client.status(1) == ("4", "Deadline Exceeded")
        monkeypatch.setattr(limits, "READ_SECONDS", 0.1)
        sock.sendall(client.head(3, "ModelInfer") + frames.frame(frames.DATA, 0, 3, b"\0\0"))
        assert client.status(3) == ("4", "the request did not arrive within 0 s")


def test_heads_that_change(server: Server) -> None:
    """Blocks are remembered only as long as they mean the same."""
    with connected(server, 1) as sock:
        client = Client(sock)
        for number in range(1, 400, 2):
            method = ("ServerLive", "ServerReady", "Nothing")[number % 3]
            extra = {"x_request": str(number)} if number % 5 == 0 else {}
            sock.sendall(client.head(number, method, **extra) + client.data(number))
            assert client.status(number)[0] == ("12" if method == "Nothing" else "0")


def test_streams_beyond_the_most_are_refused_and_the_others_answered(server: Server) -> None:
    """A client that has yet to read how many it may open; it sends all heads, and then all bodies."""
    more = 700
    with connected(server, 1) as sock:
        client = Client(sock)
        numbers = range(1, 2 * (connection.MAX_STREAMS + more), 2)
        sending = Thread(
            target=sock.sendall,
            args=(b"".join([*(client.head(n) for n in numbers), *(client.data(n) for n in numbers)]),),
        )
        sending.start()
        ended: dict[int, bytes] = {}
        while len(ended) < len(numbers):
            kind, flags, number, payload = client.frame()
            if kind == frames.RST_STREAM:
                ended[number] = payload
            elif kind == frames.HEADERS:
                client.decoder.decode(payload)
                if flags & frames.END_STREAM:
                    ended[number] = b"answered"
        sending.join()
        refused = struct.pack(">I", frames.REFUSED_STREAM)
        assert [ended[number] for number in numbers] == [b"answered"] * connection.MAX_STREAMS + [refused] * more
        sock.sendall(client.head(numbers[-1] + 2) + client.data(numbers[-1] + 2))
        assert client.status(numbers[-1] + 2)[0] == "0"


def test_floods(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_RESETS", 10)
    reset = struct.pack(">I", frames.CANCEL)
    floods = {
        "resets": lambda client: b"".join(
            client.head(number, "ModelInfer") + frames.frame(frames.RST_STREAM, 0, number, reset)
            for number in range(1, 101, 2)
        ),
        "resets by an empty window": lambda client: b"".join(
            client.head(number, "ModelInfer") + window(number, 0) for number in range(1, 101, 2)
        ),
        "resets by a broken head": lambda client: b"".join(
            client.head(number, te="what") for number in range(1, 101, 2)
        ),
        "endless head": lambda client: (
            frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.CONTINUATION, 0, 1, bytes(16000)) * 10
        ),
        "empty heads": lambda client: (
            frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.CONTINUATION, 0, 1, b"") * 10
        ),
        "a bomb": lambda client: frames.frame(
            frames.HEADERS, frames.END_HEADERS, 1, client.encoder.encode([("x", "y" * 4000)]) + b"\xbe" * 1000
        ),
    }
    for name, flood in floods.items():
        with connected(server, 1) as sock:
            client = Client(sock)
            sock.sendall(flood(client))
            assert client.until(frames.GOAWAY)[4:8] == struct.pack(">I", frames.ENHANCE_YOUR_CALM), name
            with pytest.raises((EOFError, ConnectionError)):
                client.until(frames.PING)


def test_more_than_the_window(server: Server) -> None:
    with connected(server, 1) as sock:
        client = Client(sock)
        sock.sendall(client.head(1, "ModelStreamInfer"))
        message = infer(range(1000)).SerializeToString()
        body = b"\0" + struct.pack(">I", len(message)) + message
        data = (body * 20)[: connection.MAX_FRAME]
        with contextlib.suppress(ConnectionError):
            for _ in range(3 * connection.WINDOW // len(data)):
                sock.sendall(frames.frame(frames.DATA, 0, 1, data))
            while True:
                kind, _, _, payload = client.frame()
                if kind in (frames.RST_STREAM, frames.GOAWAY):
                    break
        assert payload[-4:] == struct.pack(">I", frames.FLOW_CONTROL_ERROR) or kind == frames.GOAWAY


async def test_no_call_is_lost_while_draining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that the client sends until it hears of the end are answered; then the connection closes."""
    path = support.double(tmp_path)

    def drive() -> None:
        with support.in_thread(support.request(path)) as server, connected(server, 1) as sock:
            client = Client(sock)
            sock.sendall(client.head(1) + client.data(1))
            assert client.status(1)[0] == "0"
            server.stop()
            assert client.until(frames.GOAWAY)[:4] == b"\x7f\xff\xff\xff"
            client.until(frames.PING)
            sock.sendall(client.head(3) + client.data(3))
            sock.sendall(frames.frame(frames.PING, frames.ACK, 0, bytes(8)))
            assert client.status(3)[0] == "0"
            assert client.until(frames.GOAWAY)[:4] == struct.pack(">I", 3)
            with pytest.raises(EOFError):
                client.frame()

    await asyncio.to_thread(drive)
