"""grpc.health.v1 and server reflection, asked with bytes: no generated code of ours stands on both sides."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2

from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.server import limits, main
from onnxmodel_runtime.server import model as models
from onnxmodel_runtime.server.main import Server
from tests.unit.runtime import server_support as support

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"
SERVICE = b"inference.GRPCInferenceService"


def text(number: int, value: bytes) -> bytes:
    """A field of text, as protobuf writes it."""
    return bytes((number << 3 | 2, len(value))) + value


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with support.in_thread(support.request(support.double(tmp_path_factory.mktemp("models")))) as running:
        yield running


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"{support.HOST}:{server.ports[1]}") as opened:
        yield opened


@pytest.mark.parametrize("name", [b"", b"double", SERVICE])
def test_check(channel: grpc.Channel, name: bytes) -> None:
    asked = text(1, name) if name else b""
    assert channel.unary_unary(CHECK)(asked, timeout=60) == SERVING
    watch = channel.unary_stream(WATCH)(asked, timeout=60)
    assert next(watch) == SERVING
    watch.cancel()


def test_names_that_nothing_here_has(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(CHECK)(text(1, b"other"), timeout=60)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "unknown service other")
    watch = channel.unary_stream(WATCH)(text(1, b"other"), timeout=60)
    assert next(watch) == SERVICE_UNKNOWN  # and the call goes on: it may come
    watch.cancel()


def test_a_watch_sees_a_whole_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading, serving, draining; and the server does not wait for the watch to end."""
    monkeypatch.setattr(limits, "LAME_DUCK_SECONDS", 0.0)
    release, load = threading.Event(), models.load
    created: list[Server] = []
    create = Server.__init__

    def held(asked: ServeRequest) -> models.Model:
        watcher.start()
        assert release.wait(60)
        return load(asked)

    def remember(self: Server, request: ServeRequest) -> None:
        create(self, request)
        created.append(self)

    monkeypatch.setattr(models, "load", held)
    monkeypatch.setattr(main.Server, "__init__", remember)
    seen: list[Any] = []

    def watch() -> None:
        with grpc.insecure_channel(f"{support.HOST}:{created[0].ports[1]}") as channel:
            seen.append(channel.unary_unary(CHECK)(b"", timeout=60))
            try:
                for answer in channel.unary_stream(WATCH)(text(1, b"double"), timeout=10):
                    seen.append(answer)
                    release.set()
            except grpc.RpcError as error:
                seen.append(error.code())

    watcher = threading.Thread(target=watch)
    with support.in_thread(support.request(support.double(tmp_path))):
        support.wait_until(lambda: SERVING in seen)
    watcher.join(5)
    assert seen == [NOT_SERVING, NOT_SERVING, SERVING, NOT_SERVING, grpc.StatusCode.UNAVAILABLE]


def fields(data: bytes) -> dict[int, list[bytes]]:
    """The fields of a message that are text, bytes or messages."""
    found: dict[int, list[bytes]] = {}
    at = 0
    while at < len(data):
        key, at = data[at], at + 1
        size = shift = 0
        while True:
            byte, at = data[at], at + 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        if key & 7 == 2:
            found.setdefault(key >> 3, []).append(data[at : at + size])
            at += size
        else:
            found.setdefault(key >> 3, []).append(str(size).encode())
    return found


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection(channel: grpc.Channel, version: str) -> None:
    asked = [
        text(7, b"*"),
        text(4, SERVICE),
        text(4, b"inference.ModelInferRequest.InferInputTensor"),
        text(4, b"grpc.health.v1.Health.Watch"),
        text(3, b"model_config.proto"),
        text(6, SERVICE),
        text(4, b"inference.Nothing"),
        text(3, b"nothing.proto"),
        text(5, text(1, SERVICE)),
        b"",
    ]
    call = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
    answers = [fields(answer) for answer in call(iter(asked), timeout=5)]
    listed, files, extensions, errors = answers[0], answers[1:5], answers[5], answers[6:]
    names = [fields(service)[1][0].decode() for service in fields(listed[6][0])[1]]
    assert names == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        SERVICE.decode(),
    ]
    assert listed[2] == [asked[0]]
    pools = []
    for answer in files:
        pool = descriptor_pool.DescriptorPool()
        for file in reversed(fields(answer[4][0])[1]):
            pool.AddSerializedFile(file)  # fails where something that it imports is missing
        pools.append(pool)
    service = pools[0].FindServiceByName(SERVICE.decode())
    assert [method.name for method in service.methods] == [
        method.name for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    ]
    assert pools[2].FindServiceByName("grpc.health.v1.Health").methods_by_name["Watch"].server_streaming
    described = descriptor_pb2.FileDescriptorProto()
    pools[3].FindFileByName("model_config.proto").CopyToProto(described)
    assert described.package == "inference"
    assert fields(extensions[5][0]) == {1: [SERVICE]}
    codes = [(fields(answer[7][0])[1], fields(answer[7][0])[2]) for answer in errors]
    assert codes == [
        ([b"5"], [b"there is no symbol inference.Nothing"]),
        ([b"5"], [b"there is no file nothing.proto"]),
        ([b"5"], [b"there is no such extension"]),
        ([b"12"], [b"the request asks for nothing that this server supports"]),
    ]
