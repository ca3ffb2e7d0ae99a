"""Ask the Service as a client does, over HTTP and gRPC, and compare with the original model's answers."""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnxmodel_runtime import parity, probefile
from onnxmodel_runtime.contract import ProbeRequest, ProbeResult, ProviderUse
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.probefile import Arrays
from onnxmodel_runtime.progress import log, step

WAIT_SECONDS = 30.0
_PAUSE_SECONDS = 0.5
_HTTP_TIMEOUTS = {"connection_timeout": 5.0, "network_timeout": 30.0}
_GRPC_TIMEOUT = {"client_timeout": 30.0}


def probe(request: ProbeRequest, *, wait: float = WAIT_SECONDS) -> ProbeResult:
    """Both answers are right. Raises StageError: ProbeMismatch, ProbeRefused, or ServiceUnreachable, which may pass."""
    inputs, expected = probefile.read(Path(request.probe))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gevent, which tritonclient's HTTP client brings, warns of its own past
        import tritonclient.grpc as over_grpc
        import tritonclient.http as over_http
    deadline = time.monotonic() + wait
    http = _Client("HTTP", f"{request.host}:{request.http_port}", over_http, opening=_HTTP_TIMEOUTS)
    grpc = _Client("gRPC", f"{request.host}:{request.grpc_port}", over_grpc, calling=_GRPC_TIMEOUT)
    results = {}
    for client in (http, grpc):
        step(f"asking {request.name} at {client.address} over {client.protocol}")
        client.wait_ready(request.name, deadline)
        answers, milliseconds = client.infer(request.name, inputs, tuple(expected))
        measured = parity.compare(answers, expected, request.tolerance)
        if not measured.passed:
            raise StageError(
                "ProbeMismatch",
                f"{request.name} at {client.address} answers otherwise than the original model over {client.protocol}: "
                f"{parity.explain(measured, request.tolerance)}",
                "Another model may be behind this Service, or its provider computes differently: the older revision "
                "goes on serving.",
            )
        log(f"{client.protocol}: the expected answer in {milliseconds:.1f} ms")
        results[client.protocol] = (milliseconds, measured.max_absolute)
    return ProbeResult(
        results["HTTP"][0],
        results["gRPC"][0],
        max(result[1] for result in results.values()),
        http.provider(request.name),
    )


class _Client:
    """One protocol. tritonclient's two modules have the same shape; one takes timeouts per client, one per call."""

    def __init__(
        self,
        protocol: str,
        address: str,
        module: Any,
        *,
        opening: dict[str, float] | None = None,
        calling: dict[str, float] | None = None,
    ) -> None:
        self.protocol, self.address = protocol, address
        self._module, self._opening, self._calling = module, opening or {}, calling or {}

    def wait_ready(self, name: str, deadline: float) -> None:
        """A Service needs a moment to find its pods. Raises StageError when that takes too long."""
        while True:
            try:
                ready = self._call(lambda client: client.is_model_ready(name, **self._calling))
                problem = "it answers, and the model is not ready"
            except Exception as error:  # gevent, sockets and grpc each have their own
                ready, problem = False, str(error) or type(error).__name__
            if ready:
                return
            if time.monotonic() > deadline:
                raise StageError(
                    "ServiceUnreachable",
                    f"{name} at {self.address} is not ready over {self.protocol}: {problem}",
                    "Check the server's pods and the network policies between this namespace's pods. It is tried again.",
                    retry=True,
                )
            time.sleep(_PAUSE_SECONDS)

    def infer(self, name: str, inputs: Arrays, outputs: tuple[str, ...]) -> tuple[Arrays, float]:
        """The answers, and how long a fresh connection took to give them."""
        from tritonclient.utils import InferenceServerException, np_to_triton_dtype

        tensors = []
        for key, array in inputs.items():
            tensor = self._module.InferInput(key, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        wanted = [self._module.InferRequestedOutput(key) for key in outputs]
        started = time.perf_counter()
        try:
            result = self._call(lambda client: client.infer(name, tensors, outputs=wanted, **self._calling))
        except InferenceServerException as error:
            passing = error.status() in ("503", "StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", None)
            raise StageError(
                "ServiceUnreachable" if passing else "ProbeRefused",
                f"{name} at {self.address} does not answer the probe over {self.protocol}: {error}",
                "Look at the server's log.",
                retry=passing,
            ) from error
        except OSError as error:
            raise StageError(
                "ServiceUnreachable", f"{self.address} broke off: {error}", "It is tried again.", retry=True
            ) from error
        milliseconds = (time.perf_counter() - started) * 1000
        return {key: _decoded(result.as_numpy(key)) for key in outputs}, round(milliseconds, 3)

    def provider(self, name: str) -> ProviderUse | None:
        """What the server says that it runs on; Triton does not say."""
        try:
            config = self._call(lambda client: client.get_model_config(name))
            parameters = config.get("parameters", {})
            used = parameters["execution_provider"]["string_value"]
            share = float(parameters.get("execution_provider_share", {}).get("string_value", "0"))
        except Exception as error:
            log(f"the server does not name its execution provider ({type(error).__name__})")
            return None
        return ProviderUse(str(used), share)

    def _call(self, action: Callable[[Any], Any]) -> Any:
        client = self._module.InferenceServerClient(self.address, **self._opening)
        try:
            return action(client)
        finally:
            client.close()


def _decoded(array: Any) -> Any:
    """Strings come as bytes."""
    if array.dtype.kind != "O":
        return array
    import numpy as np

    texts = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in array.ravel()]
    return np.array(texts, dtype=object).reshape(array.shape)
