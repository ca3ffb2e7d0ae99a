"""Runs in a pod: asks every model of /files over HTTP and gRPC, alone and several clients at once; prints what it was told.

A file of /files is MODEL.npz with at least eight rows of every input, or MODEL.whole.npz with what is sent as it is.
"""

import json
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tritonclient.grpc
import tritonclient.http

CLIENTS = 8
PROTOCOLS = {"http": (tritonclient.http, 8000), "grpc": (tritonclient.grpc, 8001)}
(domain,) = sys.argv[1:]


def ask(protocol, host, name, metadata, rows, start=None):
    """The answer, as lists by output. start: what clients wait for, to ask at once."""
    module, port = PROTOCOLS[protocol]
    with module.InferenceServerClient(f"{host}:{port}") as client:
        tensors = []
        for told in metadata["inputs"]:
            tensor = module.InferInput(told["name"], rows[told["name"]].shape, told["datatype"])
            tensors.append(tensor.set_data_from_numpy(rows[told["name"]]))
        assert client.is_model_ready(name)
        if start:
            start.wait(30)
        answer = client.infer(name, tensors)
        return {told["name"]: answer.as_numpy(told["name"]).tolist() for told in metadata["outputs"]}


def questions(name, rows):
    host = f"{name}.{domain}"
    with tritonclient.http.InferenceServerClient(f"{host}:8000") as client:
        metadata = client.get_model_metadata(name)
        revision = client.get_model_config(name)["parameters"]["revision"]["string_value"]

        def counted():
            stats = client.get_inference_statistics(name)["model_stats"][0]
            return int(stats["inference_stats"]["success"]["count"]), int(stats["execution_count"])

        def counted_after(since, requests):
            """Requests and executions so far, `requests` later: Triton counts a request after it has answered it."""
            for _ in range(100):
                now = counted()
                if now[0] >= since[0] + requests:
                    break
                time.sleep(0.1)
            assert now[0] == since[0] + requests, (since, requests, now)
            return now

        def some(first, last):
            return {key: array[first:last] for key, array in rows.items()}

        alone = {}
        before = counted()
        for protocol in PROTOCOLS:
            alone[protocol] = [ask(protocol, host, name, metadata, some(0, count)) for count in (1, 3)]
            alone[protocol] += [ask(protocol, host, name, metadata, some(n, n + 1)) for n in range(CLIENTS)]
        between = counted_after(before, len(PROTOCOLS) * (2 + CLIENTS))
        at_once = {}
        for protocol in PROTOCOLS:
            start = threading.Barrier(CLIENTS)
            with ThreadPoolExecutor(CLIENTS) as pool:
                asked = [
                    pool.submit(ask, protocol, host, name, metadata, some(n, n + 1), start) for n in range(CLIENTS)
                ]
                at_once[protocol] = [item.result() for item in asked]
        after = counted_after(between, len(PROTOCOLS) * CLIENTS)
    metrics = urllib.request.urlopen(f"http://{host}:8002/metrics", timeout=5).read().decode().splitlines()
    counts = [line for line in metrics if line.startswith(f'nv_inference_request_success{{model="{name}"')]
    return {
        "inputs": metadata["inputs"], "outputs": metadata["outputs"], "revision": revision,
        "alone": alone, "at_once": at_once, "runs": {"alone": between[1] - before[1], "at_once": after[1] - between[1]},
        "metrics": sum(float(line.rpartition(" ")[2]) for line in counts),
    }  # fmt: skip


def whole(name, arrays):
    """Once by each protocol. A scalar is sent as the server's metadata have it."""
    host = f"{name}.{domain}"
    with tritonclient.http.InferenceServerClient(f"{host}:8000") as client:
        metadata = client.get_model_metadata(name)
        size = client.get_model_config(name)["max_batch_size"]
    shaped = {
        told["name"]: arrays[told["name"]].reshape(1) if told["shape"] == [1] else arrays[told["name"]]
        for told in metadata["inputs"]
    }
    return {"max_batch_size": size, **{by: ask(by, host, name, metadata, shaped) for by in PROTOCOLS}}


def answered(stem, arrays):
    name, _, kind = stem.partition(".")
    return whole(name, arrays) if kind else questions(name, arrays)


files = {path.stem: dict(np.load(path)) for path in sorted(Path("/files").glob("*.npz"))}
print(json.dumps({name: answered(name, rows) for name, rows in files.items()}))
