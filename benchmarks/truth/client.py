"""Runs in a pod: callers that ask a model through its Service for some seconds, with the rows that the benchmark used.

Arguments: host, model, then points as client:batch:callers; client: http or grpc of tritonclient, whose own time is in the
figures, or light, the load test's. Prints one line of JSON for each.
"""

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import tritonclient.grpc
import tritonclient.http

from onnxmodel_runtime import probefile
from onnxmodel_runtime.contract import Load, LoadTestRequest
from onnxmodel_runtime.loadtest import loadtest
from onnxmodel_runtime.stats import percentile

PROBE = "/files/probe.npz"
WARM_UP, SECONDS = 1.0, 5.0
PORTS = {"http": 8000, "grpc": 8001}


def inputs(protocol, metadata, rows, batch):
    """The probe's row, as often as the batch has rows."""
    made = []
    for tensor in metadata["inputs"]:
        array = rows[tensor["name"]]
        array = np.repeat(array, batch, axis=0) if tensor["shape"][:1] == [-1] else array
        made.append(protocol.InferInput(tensor["name"], array.shape, tensor["datatype"]))
        made[-1].set_data_from_numpy(array)
    return made


def measure(host, name, rows, kind, batch, callers):
    """p50 and p99 in milliseconds, and rows per second."""
    if kind == "light":
        (point,) = loadtest(LoadTestRequest(name, host, PROBE, (Load(batch, callers),))).points
        return {"p50": point.p50, "p99": point.p99, "throughput": point.throughput}
    protocol = {"http": tritonclient.http, "grpc": tritonclient.grpc}[kind]
    with tritonclient.http.InferenceServerClient(f"{host}:{PORTS['http']}") as client:
        metadata = client.get_model_metadata(name)
    taken: list[list[tuple[float, float]]] = [[] for _ in range(callers)]
    end = time.perf_counter() + WARM_UP + SECONDS

    def call(mine):
        asked = inputs(protocol, metadata, rows, batch)
        with protocol.InferenceServerClient(f"{host}:{PORTS[kind]}") as client:
            while (sent := time.perf_counter()) < end:
                client.infer(name, asked)
                mine.append((sent, time.perf_counter() - sent))

    threads = [threading.Thread(target=call, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latencies = sorted(latency for mine in taken for sent, latency in mine if sent >= end - SECONDS)
    rate = batch * len(latencies) / SECONDS
    return {"p50": percentile(latencies, 50) * 1000, "p99": percentile(latencies, 99) * 1000, "throughput": rate}


if __name__ == "__main__":
    host, name, *points = sys.argv[1:]
    rows, _ = probefile.read(Path(PROBE))
    for point in points:
        kind, batch, callers = point.split(":")
        print(json.dumps({"point": point, **measure(host, name, rows, kind, int(batch), int(callers))}), flush=True)
