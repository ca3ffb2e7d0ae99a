"""What the server says of its work: metrics, traces and the access log."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.server import tracing
from onnxmodel_runtime.server.errors import Reason
from onnxmodel_runtime.server.recorder import Compute, Recorder
from tests.unit.runtime import server_support as support

X = np.ones((2, 3), np.float32)
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


def samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Name -> labels -> value, as Prometheus itself reads the page."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_metrics_of_a_known_history() -> None:
    recorder = Recorder('a "model"')
    recorder.loaded(ProviderUse("CUDA", 75.0, {"CUDA": 3, "CPU": 1}), 1.5)
    compute = Compute(1_000, 2_000, 3_000)
    recorder.execution(8, compute)
    recorder.execution(3, compute)
    recorder.success(6, 4_000_000, 500_000, compute)
    recorder.success(5, 40_000_000_000, 600_000, compute)
    recorder.failure(Reason.REJECTED, 1)
    recorder.waiting = lambda: 2
    found = samples(recorder.metrics())
    labels = (("model", 'a "model"'), ("version", "1"))

    def buckets(name: str) -> dict[str, float]:
        return {dict(key)["le"]: value for key, value in found[f"{name}_bucket"].items()}

    assert found["nv_inference_request_success_total"][labels] == 2
    assert found["nv_inference_count_total"][labels] == 11
    assert found["nv_inference_exec_count_total"][labels] == 2
    assert found["nv_inference_request_failure_total"][(labels[0], ("reason", "REJECTED"), labels[1])] == 1
    assert found["nv_inference_pending_request_count"][labels] == 2
    assert found["nv_model_load_duration_secs"][labels] == 1.5
    provider = (labels[0], ("provider", "CUDA"), labels[1])
    assert found["onnxmodel_provider_nodes"][provider] == 3
    assert found["onnxmodel_provider_share_ratio"] == {provider: 0.75}
    latency = buckets("onnxmodel_request_duration_seconds")
    assert (latency["0.0025"], latency["0.005"], latency["10"], latency["+Inf"]) == (0, 1, 1, 2)
    assert found["onnxmodel_request_duration_seconds_sum"][labels] == pytest.approx(40.004)
    assert (buckets("onnxmodel_queue_duration_seconds")["0.0005"], found["onnxmodel_batch_rows_sum"][labels]) == (1, 11)
    rows = buckets("onnxmodel_batch_rows")
    assert (rows["2"], rows["4"], rows["8"], rows["+Inf"]) == (0, 1, 2, 2)


PARENTS = [
    (HEADERS["traceparent"], True),
    (f" 00-{TRACE}-{PARENT}-00 ", True),
    (f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like", True),
    (f"00-{TRACE}-{PARENT}-01-more", False),
    (f"ff-{TRACE}-{PARENT}-01", False),
    (f"00-{'0' * 32}-{PARENT}-01", False),
    (f"00-{TRACE}-{'0' * 16}-01", False),
    (f"00-{TRACE.upper()}-{PARENT}-01", False),
    (f"00-{TRACE}-{PARENT}", False),
    ("", False),
    ("x" * 10_000, False),
]


@pytest.mark.parametrize(("header", "valid"), PARENTS)
def test_traceparents(header: str, valid: bool) -> None:
    trace = tracing.parse(header)
    assert (trace is not None) == valid
    if trace is not None:
        assert (trace.trace, trace.parent) == (TRACE, PARENT)
        assert trace.response == f"00-{TRACE}-{trace.span}-{trace.flags}"
        assert trace.span != tracing.parse(header).span  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    asked = support.request(support.double(tmp_path_factory.mktemp("models")), access_log=True)
    with support.in_process(asked) as running:
        yield running


def given(module: Any, x: Any = X) -> list[Any]:
    return [module.InferInput("x", list(x.shape), "FP32").set_data_from_numpy(x)]


def test_access_log_and_traces(server: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, ports = server
    body = {"id": "one", "inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [[1, 2, 3]] * 2}]}
    url = f"http://{support.HOST}:{ports[0]}/v2/models/double/infer"
    with urlopen(Request(url, json.dumps(body).encode(), HEADERS)) as answer:  # tritonclient hides headers
        traceresponse = answer.headers["traceresponse"]
        assert traceresponse.split("-")[1] == TRACE
    with triton_http.InferenceServerClient(f"{support.HOST}:{ports[0]}") as http:
        http.infer("double", given(triton_http))
        with pytest.raises(InferenceServerException):
            http.infer("other", given(triton_http))
    with triton_grpc.InferenceServerClient(f"{support.HOST}:{ports[1]}") as client:
        client.infer("double", given(triton_grpc), request_id="two", headers=HEADERS)
        with pytest.raises(InferenceServerException):
            client.infer("double", given(triton_grpc, X[:, :2]), request_id="three")
    with grpc.insecure_channel(f"{support.HOST}:{ports[1]}") as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
        )
        with pytest.raises(grpc.RpcError) as caught:
            call(service_pb2.ModelInferRequest(model_name="double"), metadata=tuple(HEADERS.items()))
        assert dict(caught.value.trailing_metadata())["traceresponse"].split("-")[1] == TRACE
    assert support.call(ports[0], "POST", "/v2/models/double/infer", b"x", {"Content-Encoding": "br"})[0] == 501
    with urlopen(f"http://{support.HOST}:{ports[0]}/v2/health/ready") as ready:  # no line: it is asked every second
        assert ready.status == 200
    with urlopen(f"http://{support.HOST}:{ports[2]}/metrics") as page:
        found = samples(page.read().decode())
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    lines = [json.loads(line) for line in process.stdout]

    assert [line["protocol"] for line in lines] == ["http"] * 3 + ["grpc"] * 3 + ["http"]
    ends = [line["status"] for line in lines]
    assert ends == ["OK", "OK", "INVALID_ARGUMENT", "OK", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "UNIMPLEMENTED"]
    assert [line.get("trace_id") for line in lines] == [TRACE, None, None, TRACE, None, TRACE, None]
    first = lines[0]
    assert (first["parent_id"], first["span_id"]) == (PARENT, traceresponse.split("-")[2])
    assert (first["request_id"], first["rows"], first["model"], first["log"]) == ("one", 2, "double", "access")
    assert first["duration_us"] >= first["queue_us"] + first["infer_us"]
    assert first["address"] == support.HOST
    assert "unexpected shape for input 'x'" in lines[4]["error"]
    labels = (("model", "double"), ("version", "1"))
    assert found["onnxmodel_request_duration_seconds_count"][labels] == 3
    assert found["onnxmodel_batch_rows_sum"][labels] == 6
    assert found["onnxmodel_provider_share_ratio"][(labels[0], ("provider", "CPU"), labels[1])] == 1


def test_no_access_log_unless_asked_for(tmp_path: Path) -> None:
    with support.in_process(support.request(support.double(tmp_path))) as (process, ports):
        with triton_http.InferenceServerClient(f"{support.HOST}:{ports[0]}") as http:
            http.infer("double", given(triton_http), headers=HEADERS)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.read() == ""
