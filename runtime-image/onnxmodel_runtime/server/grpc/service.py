"""The protocol on gRPC: tritonclient's service, by its methods, and gRPC's own services of health and reflection."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, NoReturn

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2

from onnxmodel_runtime.server import tracing
from onnxmodel_runtime.server.access import Caller
from onnxmodel_runtime.server.errors import Code, ServerError
from onnxmodel_runtime.server.grpc import rpc
from onnxmodel_runtime.server.grpc.health import Health
from onnxmodel_runtime.server.grpc.health import Request as HealthRequest
from onnxmodel_runtime.server.limits import OFF_LOOP
from onnxmodel_runtime.server.protocol import describe, repeat, wellknown
from onnxmodel_runtime.server.protocol import grpc as protocol
from onnxmodel_runtime.server.protocol.reflection import Reflection
from onnxmodel_runtime.server.protocol.request import InferRequest, ModelSpec
from onnxmodel_runtime.server.service import Encode, Service

_SERVICE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_STATUS = {
    Code.INVALID: 3,
    Code.NOT_FOUND: 5,
    Code.TOO_LARGE: 8,
    Code.UNSUPPORTED: 12,
    Code.UNAVAILABLE: 14,
    Code.INTERNAL: 13,
}  # gRPC's numbers
_TRACE_HEADER = tracing.REQUEST_HEADER.encode()
_STREAM = 32  # requests of one stream that are under way at a time


class _Servicer:
    """The methods by their names in the service's definition."""

    def __init__(self, service: Service) -> None:
        self._service = service
        for name, what in describe.UNSUPPORTED_METHODS.items():
            setattr(self, name, partial(_refuse, what))

    async def ServerLive(self, message: Any, context: rpc.Call) -> Any:  # noqa: N802
        """Report whether the process is live."""
        return service_pb2.ServerLiveResponse(live=self._service.live)

    async def ServerReady(self, message: Any, context: rpc.Call) -> Any:  # noqa: N802
        """Report whether the server is ready."""
        return service_pb2.ServerReadyResponse(ready=self._service.ready)

    async def ModelReady(self, message: Any, context: rpc.Call) -> Any:  # noqa: N802
        """Report whether this model is ready. An unknown model is not, which is no error of the client."""
        try:
            ready = self._service.is_ready(message.name, message.version)
        except ServerError:
            ready = False
        return service_pb2.ModelReadyResponse(ready=ready)

    async def ServerMetadata(self, message: Any, context: rpc.Call) -> Any:  # noqa: N802
        """Return the server's metadata."""
        return service_pb2.ServerMetadataResponse(**describe.server())

    async def ModelMetadata(self, message: Any, context: rpc.Call) -> Any:  # noqa: N802
        """Return the model's metadata."""
        return protocol.model_metadata(self._service.metadata(message.name, message.version))

    async def ModelConfig(self, message: Any, context: rpc.Call) -> Any:  # noqa: N802
        """Return the model's configuration."""
        return protocol.model_config(self._service.config(message.name, message.version))

    async def ModelStatistics(self, message: Any, context: rpc.Call) -> Any:  # noqa: N802
        """Return the model's statistics."""
        return protocol.statistics(self._service.statistics(message.name, message.version))

    async def RepositoryIndex(self, message: Any, context: rpc.Call) -> Any:  # noqa: N802
        """Return the repository's index."""
        return protocol.index(self._service.index(message.ready))

    async def ModelInfer(self, message: Any, context: rpc.Call) -> Any:  # noqa: N802
        """Run an inference."""
        return await self._infer(message, _caller(context))

    async def ModelStreamInfer(self, messages: AsyncIterator[Any], context: rpc.Call) -> AsyncIterator[Any]:  # noqa: N802
        """Run inferences concurrently, and respond in the order of requests.

        An error is a response, and ends nothing.
        """
        caller = _caller(context)
        answers: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue(_STREAM)

        async def read() -> None:
            try:
                async for message in messages:
                    answer = asyncio.create_task(self._streamed(message, caller))
                    try:
                        await answers.put(answer)
                    except asyncio.CancelledError:
                        answer.cancel()
                        raise
            finally:
                await answers.put(None)

        reading = asyncio.create_task(read())
        try:
            while (answer := await answers.get()) is not None:
                yield await answer
            await reading  # what broke it breaks the call
        finally:  # the client may have gone away
            reading.cancel()
            while not answers.empty():
                if (left := answers.get_nowait()) is not None:
                    left.cancel()

    async def _streamed(self, message: Any, caller: Caller) -> Any:
        try:
            answer = await self._infer(message, caller)
        except ServerError as error:
            failed = service_pb2.ModelInferResponse(id=message.id)
            return service_pb2.ModelStreamInferResponse(error_message=error.message, infer_response=failed)
        answer.parameters["triton_final_response"].bool_param = True
        return service_pb2.ModelStreamInferResponse(infer_response=answer)

    async def _infer(self, message: Any, caller: Caller) -> Any:
        size = sum(map(len, message.raw_input_contents)) if message.raw_input_contents else message.ByteSize()
        decode = partial(_decode, message)
        return await self._service.infer(message.model_name, message.model_version, size, decode, caller)


def methods(service: Service) -> rpc.Methods:
    """Return the methods of the port, from the service's definition."""
    servicer = _Servicer(service)
    made = {}
    for method in _SERVICE.methods:
        path = f"/{_SERVICE.full_name}/{method.name}".encode()
        request = getattr(service_pb2, method.input_type.name).FromString
        call = getattr(servicer, method.name)
        if method.client_streaming:
            made[path] = rpc.Method(stream=partial(_stream, request, call))
        else:
            now = _Now(service) if method.name == "ModelInfer" else None
            made[path] = rpc.Method(now, partial(_later, request, call))
    return rpc.Methods(made | _health(service) | _reflection())


def _health(service: Service) -> dict[bytes, rpc.Method]:
    health, parse = Health(service, _SERVICE.full_name), HealthRequest.FromString
    return {
        b"/grpc.health.v1.Health/Check": rpc.Method(later=partial(_later, parse, health.check)),
        b"/grpc.health.v1.Health/Watch": rpc.Method(stream=partial(_stream, parse, health.watch)),
    }


def _reflection() -> dict[bytes, rpc.Method]:
    reflection = Reflection((service_pb2.DESCRIPTOR, wellknown.HEALTH, *wellknown.REFLECTION))
    made = {}
    for file in wellknown.REFLECTION:
        request, response = (wellknown.message(file, f"ServerReflection{kind}") for kind in ("Request", "Response"))
        path = f"/{file.package}.ServerReflection/ServerReflectionInfo".encode()
        made[path] = rpc.Method(stream=partial(_stream, request.FromString, partial(_reflect, reflection, response)))
    return made


async def _reflect(
    reflection: Reflection, response: Any, messages: AsyncIterator[Any], context: rpc.Call
) -> AsyncIterator[Any]:
    async for message in messages:
        answer = response()
        reflection.answer(message, answer)
        yield answer


class _Now:
    """Inferences that need no waiting."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._repeated: repeat.Grpc | None = None

    def __call__(self, data: bytes, context: rpc.Context | rpc.Call) -> bytes | None:
        """The answer, or None where there is something to wait for. Raises Status."""
        service = self._service
        if not service.quick or len(data) > OFF_LOOP:
            return None
        message = _parse(service_pb2.ModelInferRequest.FromString, data)
        if _TRACE_HEADER in context.head:
            _trace(context)
        try:
            return service.infer_now(message.model_name, message.model_version, partial(self._decode, message))
        except ServerError as error:
            raise rpc.Status(_STATUS[error.code], error.message) from error

    def _decode(self, message: Any, spec: ModelSpec) -> tuple[InferRequest, Encode[bytes]]:
        if self._repeated is None:
            self._repeated = repeat.Grpc(spec)
        return self._repeated.decode(message)


async def _later(
    parse: Callable[[bytes], Any], call: Callable[[Any, rpc.Call], Awaitable[Any]], data: bytes, context: rpc.Call
) -> bytes:
    try:
        answer = await call(_parse(parse, data), context)
    except ServerError as error:
        raise rpc.Status(_STATUS[error.code], error.message) from error
    return bytes(answer.SerializeToString())


async def _stream(
    parse: Callable[[bytes], Any],
    call: Callable[[AsyncIterator[Any], rpc.Call], AsyncIterator[Any]],
    received: AsyncIterator[bytes],
    context: rpc.Call,
) -> AsyncIterator[bytes]:
    async for answer in call((_parse(parse, data) async for data in received), context):
        yield answer.SerializeToString()


def _parse(parse: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return parse(data)
    except DecodeError as error:
        raise rpc.Status(rpc.INTERNAL, f"the request cannot be parsed: {error}") from error


def _caller(context: rpc.Call) -> Caller:
    return Caller("grpc", context.connection.peer, _trace(context))


def _trace(context: rpc.Context | rpc.Call) -> tracing.Trace | None:
    """The trace of a request, which is told our span at its end."""
    header = context.head.get(_TRACE_HEADER)
    trace = tracing.parse(header.decode("latin-1")) if header else None
    if trace is not None:
        context.trailers = ((tracing.RESPONSE_HEADER.encode(), trace.response.encode()),)
    return trace


def _decode(message: Any, spec: ModelSpec) -> tuple[InferRequest, Encode[Any]]:
    request = protocol.decode(spec, message)
    return request, partial(protocol.encode, spec, request)


async def _refuse(what: str, message: Any, context: rpc.Call) -> NoReturn:
    raise ServerError(f"this server does not support {what}", Code.UNSUPPORTED)
