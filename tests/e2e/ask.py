"""Runs in a pod: asks a model through its Service with every flavour of tritonclient, and compares the answers."""

import asyncio
import sys
import urllib.request

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from grpc import insecure_channel

host, name, runtime = sys.argv[1:]
batch = np.random.default_rng(7).integers(0, 256, (3, 2048), dtype=np.int32)


def inputs(protocol):
    tensor = protocol.InferInput("bytes", batch.shape, "INT32")
    tensor.set_data_from_numpy(batch)
    return [tensor]


http, grpc = tritonclient.http, tritonclient.grpc
answers = {}
with http.InferenceServerClient(f"{host}:8000") as client:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(name)
    metadata = client.get_model_metadata(name)
    assert metadata["inputs"] == [{"name": "bytes", "datatype": "INT32", "shape": [-1, 2048]}], metadata
    told = client.get_model_config(name)["parameters"]
    assert told["revision"]["string_value"], told
    # Triton does not say which provider runs the nodes.
    assert runtime == "triton" or told["execution_provider"]["string_value"] == "CPU", told
    answers["http"] = client.infer(name, inputs(http), request_id="r1")
    assert answers["http"].get_response()["id"] == "r1"
    statistics = client.get_inference_statistics(name)["model_stats"][0]
    assert int(statistics["inference_count"]) >= 3, statistics
with grpc.InferenceServerClient(f"{host}:8001") as client:
    assert client.is_model_ready(name)
    answers["grpc"] = client.infer(name, inputs(grpc))
    if runtime != "triton":
        best = client.infer(name, inputs(grpc), outputs=[grpc.InferRequestedOutput("target_label", class_count=1)])
        indices = [int(text.decode().split(":")[1]) for text in best.as_numpy("target_label")[:, 0]]
        assert indices == answers["grpc"].as_numpy("target_label").argmax(1).tolist(), indices
if runtime != "triton":
    with insecure_channel(f"{host}:8001") as channel:  # as Kubernetes' gRPC probes ask
        asked = bytes((10, len(name))) + name.encode()
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(asked, timeout=5) == b"\x08\x01"


async def both():
    async with http.aio.InferenceServerClient(f"{host}:8000") as client:
        answers["http.aio"] = await client.infer(name, inputs(http))
    async with grpc.aio.InferenceServerClient(f"{host}:8001") as client:
        answers["grpc.aio"] = await client.infer(name, inputs(grpc))


asyncio.run(both())
scores = [answer.as_numpy("target_label") for answer in answers.values()]
assert scores[0].shape == (3, 214)
assert all(np.array_equal(scores[0], other) for other in scores)
metrics = urllib.request.urlopen(f"http://{host}:8002/metrics", timeout=5).read().decode()
assert f'nv_inference_request_success{{model="{name}",version="1"}}' in metrics, metrics
print("http, http.aio, grpc, grpc.aio agree; ready, metadata, config, statistics, metrics")
