"""Send requests to the Service as a client does, over HTTP and gRPC, and compare with the original model's outputs."""

import contextlib
import time
from pathlib import Path

from onnxmodel_runtime.contract.probe import ProbeRequest, ProbeResult
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.measuring.client import WAIT_SECONDS, Client, as_sent, as_taken, over_grpc, over_http
from onnxmodel_runtime.models import parity, probefile
from onnxmodel_runtime.models.probefile import Arrays
from onnxmodel_runtime.sandbox.progress import log, step


def probe(request: ProbeRequest, *, wait: float = WAIT_SECONDS) -> ProbeResult:
    """Prove that both responses are right, and return the measurements. Raises StageError.

    Reasons: ProbeMismatch, ProbeRefused, and, which may pass, ServiceUnreachable and RevisionMismatch.
    """
    inputs, expected = probefile.read(Path(request.probe))
    deadline = time.monotonic() + wait
    http, grpc = over_http(request.host, request.http_port), over_grpc(request.host, request.grpc_port)
    with contextlib.closing(http), contextlib.closing(grpc):
        seen = {client.protocol: _ask(client, request, inputs, expected, deadline) for client in (http, grpc)}
        return ProbeResult(
            seen["HTTP"][0],
            seen["gRPC"][0],
            max(difference for _, difference in seen.values()),
            http.provider(request.name),
            http.unjoined(request.name),
        )


def _ask(
    client: Client, request: ProbeRequest, inputs: Arrays, expected: Arrays, deadline: float
) -> tuple[float, float]:
    """Milliseconds, and the largest difference. Raises StageError unless the answer is right."""
    step(f"sending the probe to {request.name} at {client.address} over {client.protocol}")
    client.wait_ready(request.name, request.revision, deadline)
    answers, milliseconds = client.infer(request.name, as_taken(inputs, client.shapes(request.name)), tuple(expected))
    measured = parity.compare(as_sent(answers, expected), expected, request.tolerance)
    if not measured.passed:
        raise StageError(
            "ProbeMismatch",
            f"{request.name} at {client.address} returns different outputs from the original model over "
            f"{client.protocol}: {parity.explain(measured, request.tolerance)}",
            "Traffic is switched back to the older revision, if there is one. Check whether other pods "
            f"carry this model's labels (kubectl get pods -l onnx-operator.dev/model={request.name}), and "
            "whether the pool has several kinds of nodes, which compute differently.",
        )
    log(f"{client.protocol}: the expected output in {milliseconds:.1f} ms")
    return milliseconds, measured.max_absolute
