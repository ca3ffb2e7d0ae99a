"""tritonclient for stages: waits for the right revision, and describes a failure in one sentence."""

import contextlib
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.errors import StageError, clip
from onnxmodel_runtime.models.probefile import Arrays
from onnxmodel_runtime.rows import joining
from onnxmodel_runtime.sandbox.progress import log

WAIT_SECONDS = 30.0
"""Time in seconds within which a Service must find its pods."""
_BROKE_OFF = (
    "The server may have terminated or run out of memory: check the restarts and the log of its pods. It is retried."
)
_NOT_READY = "the server responds, but the model is not ready"
_PAUSE_SECONDS = 0.5
_HTTP_TIMEOUTS = {"connection_timeout": 5.0, "network_timeout": 30.0}
_GRPC_TIMEOUT = {"client_timeout": 30.0}


def over_http(host: str, port: int) -> "Client":
    """Return an HTTP client. It connects with its first request."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gevent, which tritonclient's HTTP client brings, warns of its own past
        import tritonclient.http
    return Client("HTTP", f"{host}:{port}", tritonclient.http, opening=_HTTP_TIMEOUTS)


def over_grpc(host: str, port: int) -> "Client":
    """Return a gRPC client. It connects with its first request."""
    import tritonclient.grpc

    return Client("gRPC", f"{host}:{port}", tritonclient.grpc, calling=_GRPC_TIMEOUT)


class Client:
    """Client of one protocol.

    tritonclient's modules are alike, but one takes timeouts per client, the other per call.
    """

    def __init__(
        self,
        protocol: str,
        address: str,
        module: Any,
        *,
        opening: dict[str, Any] | None = None,
        calling: dict[str, float] | None = None,
    ) -> None:
        self.protocol, self.address = protocol, address
        self._module, self._opening, self._calling = module, opening or {}, calling or {}
        self._kept: Any = None  # a connection that ends at a pod of the wanted revision

    def wait_ready(self, name: str, revision: str, deadline: float) -> None:
        """Wait until the server is ready: a Service needs time to find new pods and drop old ones. Raises StageError.

        If a revision is wanted, the connection that found it is kept, so that the same pod answers the next requests.
        """
        while True:
            other, others, client = False, "", None
            try:
                client = self._open()
                problem = "" if client.is_model_ready(name, **self._calling) else _NOT_READY
                others = self._others(client, name) if problem else ""
                problem = f"the server has no such model; it serves {others}" if others else problem
                if revision and not problem and (found := self._revision(client, name)) != revision:
                    other = True
                    problem = f"revision {clip(found, 100) or '(unknown)'} responds instead of {revision}"
                if revision and not problem:
                    self._kept, client = client, None
            except Exception as error:  # gevent, sockets and grpc each have their own
                problem = _said(error)
            finally:
                if client is not None:
                    client.close()
            if not problem:
                return
            if others and not revision:  # in a cluster, addresses and routes may be from before
                raise StageError(
                    "NotServed",
                    f"the server at {self.address} has no model {name!r}; it serves {others}",
                    f"Use {others}.",
                )
            if time.monotonic() > deadline:
                raise StageError(
                    "RevisionMismatch" if other else "ServiceUnreachable",
                    f"{name} at {self.address} is not ready over {self.protocol}: {problem}",
                    "Check that the server's pods are ready, and that network policies let pods of this namespace reach each "
                    "other. It is retried.",
                    retry=True,
                )
            time.sleep(_PAUSE_SECONDS)

    def _others(self, client: Any, name: str) -> str:
        """The names of the server's models, where this one is none of them; "" where it does not tell."""
        options = {"as_json": True} if self.protocol == "gRPC" else {}
        try:
            found = client.get_model_repository_index(**options, **self._calling)
        except Exception as error:
            log(f"the server does not list its models ({type(error).__name__})")
            return ""
        listed = found.get("models", ()) if isinstance(found, dict) else found
        names = [str(model["name"]) for model in listed]
        return "" if name in names else clip(", ".join(names), 200)

    def close(self) -> None:
        """Close the connection that was kept."""
        if self._kept is not None:
            self._kept.close()

    def shapes(self, name: str) -> dict[str, tuple[int, ...]]:
        """Return the shape of each input as the server takes it. -1 is any length."""
        return {tensor.name: tensor.shape for tensor in self.signature(name)[0]}

    def signature(self, name: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return inputs and outputs as the server describes them. -1 is any length."""
        options = {"as_json": True} if self.protocol == "gRPC" else {}
        found = self._call(lambda client: client.get_model_metadata(name, **options, **self._calling))
        inputs, outputs = (tuple(map(_described, found.get(key, ()))) for key in ("inputs", "outputs"))
        return inputs, outputs

    def tensors(self, inputs: Arrays) -> list[Any]:
        """Convert arrays to tritonclient's input tensors."""
        from tritonclient.utils import np_to_triton_dtype

        made = []
        for key, array in inputs.items():
            made.append(self._module.InferInput(key, list(array.shape), np_to_triton_dtype(array.dtype)))
            made[-1].set_data_from_numpy(array)
        return made

    def infer(self, name: str, inputs: Arrays, outputs: tuple[str, ...]) -> tuple[Arrays, float]:
        """Return the outputs and the duration of an inference, on a fresh connection unless one is kept."""
        from tritonclient.utils import InferenceServerException

        tensors = self.tensors(inputs)
        wanted = [self._module.InferRequestedOutput(key) for key in outputs]
        started = time.perf_counter()
        try:
            result = self._call(lambda client: client.infer(name, tensors, outputs=wanted, **self._calling))
        except InferenceServerException as error:
            passing = error.status() in ("503", "StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", None)
            answered = "does not answer" if passing else "rejects"
            raise StageError(
                "ServiceUnreachable" if passing else "ProbeRefused",
                f"{name} at {self.address} {answered} the probe over {self.protocol}: {error}",
                "See the server's log for the reason. It is retried."
                if passing
                else "The server rejects this request: the message has its reason, and its log may have more.",
                retry=passing,
            ) from error
        except OSError as error:
            raise StageError(
                "ServiceUnreachable",
                f"the connection to {self.address} was interrupted: {error}",
                _BROKE_OFF,
                retry=True,
            ) from error
        milliseconds = (time.perf_counter() - started) * 1000
        return {key: _decoded(result.as_numpy(key)) for key in outputs}, round(milliseconds, 3)

    def provider(self, name: str) -> ProviderUse | None:
        """Return the execution provider that the server reports. None if it reports none, as Triton."""
        try:
            config = self._call(lambda client: client.get_model_config(name))
            parameters = config.get("parameters", {})
            used = parameters["execution_provider"]["string_value"]
            share = float(parameters.get("execution_provider_share", {}).get("string_value", "0"))
        except Exception as error:
            log(f"the server does not report its execution provider ({type(error).__name__})")
            return None
        return ProviderUse(clip(str(used), 100), share)

    def unjoined(self, name: str) -> str | None:
        """Return the server's reason for not batching requests.

        "" if it batches them, None if it does not report it.
        """
        try:
            config = self._call(lambda client: client.get_model_config(name))
            said = joining.heard(str(config["parameters"]["batching"]["string_value"]))
        except Exception as error:
            log(f"the server does not report whether it batches requests ({type(error).__name__})")
            return None
        return said and clip(said, 400)

    def _revision(self, client: Any, name: str) -> str:
        options = {"as_json": True} if self.protocol == "gRPC" else {}
        config = client.get_model_config(name, **options, **self._calling)
        parameters = config.get("config", config).get("parameters", {})
        return str(parameters.get("revision", {}).get("string_value", ""))

    def _open(self) -> Any:
        return self._module.InferenceServerClient(self.address, **self._opening)

    def _call(self, action: Callable[[Any], Any]) -> Any:
        if self._kept is not None:
            return action(self._kept)
        with contextlib.closing(self._open()) as client:
            return action(client)


def _said(error: Exception) -> str:
    """Return an error's message. Exceptions of C code, such as a parser's, carry a number too: str() is a tuple."""
    if type(error).__str__ is BaseException.__str__:
        return ", ".join(part for part in error.args if isinstance(part, str)) or type(error).__name__
    return str(error) or type(error).__name__


def _described(tensor: Mapping[str, Any]) -> Tensor:
    return Tensor(tensor["name"], tensor["datatype"], tuple(map(int, tensor.get("shape", ()))))


def as_taken(inputs: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Reshape inputs for the server: Triton's scalar is [1], and its batched [batch] is [batch, 1]."""
    return {
        key: array[..., None]
        if (len(shapes.get(key, ())), shapes.get(key, ())[-1:]) == (array.ndim + 1, (1,))
        else array
        for key, array in inputs.items()
    }


def as_sent(answers: Arrays, expected: Arrays) -> Arrays:
    """Reverse `as_taken` for outputs."""
    return {name: _without_last_axis(array, expected[name].shape) for name, array in answers.items()}


def _without_last_axis(array: Any, expected: tuple[int, ...]) -> Any:
    return array.reshape(expected) if array.ndim < 3 and array.shape == (*expected, 1) else array


def decoded(body: bytes, head: int, outputs: tuple[str, ...]) -> Arrays:
    """Decode an HTTP body whose first `head` bytes are JSON."""
    from tritonclient.http import InferResult

    result = InferResult.from_response_body(body, header_length=head or None)
    return {key: _decoded(result.as_numpy(key)) for key in outputs}


def _decoded(array: Any) -> Any:
    """Strings come as bytes."""
    if array.dtype.kind != "O":
        return array
    import numpy as np

    texts = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in array.ravel()]
    return np.array(texts, dtype=object).reshape(array.shape)
