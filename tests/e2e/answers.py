"""Runs in a pod: asks the magika model over HTTP and gRPC, and prints what it was told, with the digests of the tensors."""

import hashlib
import json
import sys
import urllib.request

import numpy as np
import tritonclient.grpc
import tritonclient.http

host, name = sys.argv[1:]
batch = np.random.default_rng(7).integers(0, 256, (3, 2048), dtype=np.int32)
told = {"answers": {}}
for protocol, module, port in (("http", tritonclient.http, 8000), ("grpc", tritonclient.grpc, 8001)):
    with module.InferenceServerClient(f"{host}:{port}") as client:
        for rows in (1, 3):
            tensor = module.InferInput("bytes", [rows, 2048], "INT32")
            tensor.set_data_from_numpy(batch[:rows])
            array = client.infer(name, [tensor]).as_numpy("target_label")
            digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
            told["answers"].setdefault(protocol, []).append([list(array.shape), str(array.dtype), digest])
        if protocol == "http":
            metadata = client.get_model_metadata(name)
            told |= {key: metadata[key] for key in ("inputs", "outputs")}
            told["revision"] = client.get_model_config(name)["parameters"]["revision"]["string_value"]
metrics = urllib.request.urlopen(f"http://{host}:8002/metrics", timeout=5).read().decode().splitlines()
counts = [line for line in metrics if line.startswith(f'nv_inference_request_success{{model="{name}"')]
told["metrics"] = sum(float(line.rpartition(" ")[2]) for line in counts)
print(json.dumps(told))
