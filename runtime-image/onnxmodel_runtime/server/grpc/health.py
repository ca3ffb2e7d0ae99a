"""grpc.health.v1, which Kubernetes' gRPC probes, Envoy and gRPC's own clients ask before they send anything."""

from collections.abc import AsyncIterator
from typing import Any

from onnxmodel_runtime.server.grpc import rpc
from onnxmodel_runtime.server.protocol import wellknown
from onnxmodel_runtime.server.service import Service

Request = wellknown.message(wellknown.HEALTH, "HealthCheckRequest")
Response = wellknown.message(wellknown.HEALTH, "HealthCheckResponse")
_STATUS = dict(
    wellknown.HEALTH.message_types_by_name["HealthCheckResponse"].enum_types_by_name["ServingStatus"].values_by_name
)
NOT_FOUND = 5


class Health:
    """The health of the server (""), of the protocol's service, and of the model by its name: all are the same."""

    def __init__(self, service: Service, protocol: str) -> None:
        self._service = service
        self._names = ("", protocol, service.name)

    async def check(self, message: Any, context: rpc.Call) -> Any:
        """Return the present status. Raises Status for unknown names."""
        if message.service not in self._names:
            raise rpc.Status(NOT_FOUND, f"unknown service {message.service[:200]}")
        return self._response(message.service)

    async def watch(self, messages: AsyncIterator[Any], context: rpc.Call) -> AsyncIterator[Any]:
        """Yield the present status, then each change, until the server stops."""
        message = await anext(messages, None)
        if message is None:
            raise rpc.Status(rpc.INTERNAL, "a message is missing")
        while True:
            changed = self._service.changed
            yield self._response(message.service)
            if self._service.draining:  # a call that goes on would be waited for
                raise rpc.Status(rpc.UNAVAILABLE, "the server is stopping")
            await changed.wait()

    def _response(self, name: str) -> Any:
        if name not in self._names:
            return Response(status=_STATUS["SERVICE_UNKNOWN"].number)
        return Response(status=_STATUS["SERVING" if self._service.ready else "NOT_SERVING"].number)
