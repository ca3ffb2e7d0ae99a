"""The gRPC front: tritonclient's service on grpc.aio."""

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, NoReturn

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from onnxmodel_runtime.server import tracing
from onnxmodel_runtime.server.access import Caller
from onnxmodel_runtime.server.errors import Code, ServerError
from onnxmodel_runtime.server.limits import MAX_REQUEST
from onnxmodel_runtime.server.protocol import describe
from onnxmodel_runtime.server.protocol import grpc as protocol
from onnxmodel_runtime.server.protocol.request import InferRequest, ModelSpec
from onnxmodel_runtime.server.service import Encode, Service

log = logging.getLogger("onnxmodel.server")

_STATUS = {
    Code.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Code.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Code.UNSUPPORTED: grpc.StatusCode.UNIMPLEMENTED,
    Code.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Code.INTERNAL: grpc.StatusCode.INTERNAL,
}
_STREAM = 32  # requests of one stream that are under way at a time
_UNSUPPORTED = (
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
    "LogSettings",
)


class _Servicer:
    """The methods by their names in the service's definition."""

    def __init__(self, service: Service) -> None:
        self._service = service
        for name in _UNSUPPORTED:
            setattr(self, name, partial(_refuse, name))

    async def ServerLive(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Whether the process answers."""
        return service_pb2.ServerLiveResponse(live=True)

    async def ServerReady(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Whether the model answers."""
        return service_pb2.ServerReadyResponse(ready=self._service.ready)

    async def ModelReady(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Whether this model answers."""
        ready = self._service.is_ready(message.name, message.version)
        return service_pb2.ModelReadyResponse(ready=ready)

    async def ServerMetadata(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Server metadata."""
        return service_pb2.ServerMetadataResponse(**describe.server())

    async def ModelMetadata(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Model metadata."""
        return protocol.model_metadata(self._service.metadata(message.name, message.version))

    async def ModelConfig(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Model configuration."""
        return protocol.model_config(self._service.config(message.name, message.version))

    async def ModelStatistics(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Statistics."""
        return protocol.statistics(self._service.statistics(message.name, message.version))

    async def RepositoryIndex(self, message: Any, context: Any) -> Any:  # noqa: N802
        """The repository's index."""
        return protocol.index(self._service.index(message.ready))

    async def ModelInfer(self, message: Any, context: Any) -> Any:  # noqa: N802
        """An inference."""
        return await self._infer(message, _caller(context))

    async def ModelStreamInfer(self, messages: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Inferences side by side, answered in the order of their requests. An error is an answer, and ends nothing."""
        caller = _caller(context)
        answers: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue(_STREAM)

        async def read() -> None:
            try:
                async for message in messages:
                    await answers.put(asyncio.create_task(self._streamed(message, caller)))
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


class _Errors(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """ServerError as a status; anything else is a defect, logged here and not shown to clients."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap the method."""
        handler = await continuation(details)
        if handler is None or handler.request_streaming:
            return handler
        inner = handler.unary_unary

        async def method(message: Any, context: Any) -> Any:
            try:
                return await inner(message, context)
            except ServerError as error:
                await context.abort(_STATUS[error.code], error.message)
            except Exception:
                log.exception("a gRPC request failed")
                await context.abort(grpc.StatusCode.INTERNAL, "internal error")

        return grpc.unary_unary_rpc_method_handler(
            method, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )


class GrpcListener:
    """The service on a port. Made on the event loop that serves it."""

    def __init__(self, service: Service, host: str, port: int) -> None:
        self._server = grpc.aio.server(
            interceptors=[_Errors()],
            maximum_concurrent_rpcs=service.max_queue + 512,
            options=[
                ("grpc.max_receive_message_length", MAX_REQUEST),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # else a second server takes half of the connections without a word
            ],
        )
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(service), self._server)
        self.port: int = self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    async def start(self) -> None:
        """Accept connections."""
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Send clients elsewhere (GOAWAY), let requests finish for so many seconds."""
        await self._server.stop(grace)


def _caller(context: Any) -> Caller:
    """Who asks; a request of a trace is told our span at its end."""
    header = next((value for key, value in context.invocation_metadata() if key == tracing.REQUEST_HEADER), "")
    trace = tracing.parse(header)
    if trace is not None:
        context.set_trailing_metadata(((tracing.RESPONSE_HEADER, trace.response),))
    return Caller("grpc", context.peer(), trace)


def _decode(message: Any, spec: ModelSpec) -> tuple[InferRequest, Encode[Any]]:
    request = protocol.decode(spec, message)
    return request, partial(protocol.encode, spec, request)


async def _refuse(name: str, message: Any, context: Any) -> NoReturn:
    raise ServerError(f"this server does not support {name}", Code.UNSUPPORTED)
