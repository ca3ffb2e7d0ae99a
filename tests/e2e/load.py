"""Runs in a pod: asks a model again and again for some seconds, over kept connections and new ones; counts what failed."""

import sys
import threading
import time

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http

host, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
end = time.monotonic() + seconds
answered, failures = [], []


def client(kind, module, url, kept):
    tensor = module.InferInput("bytes", (1, 2048), "INT32")
    tensor.set_data_from_numpy(np.zeros((1, 2048), dtype=np.int32))
    options = {"connection_timeout": 5, "network_timeout": 5} if module is http else {}
    connection = None
    while time.monotonic() < end:
        try:
            connection = connection or module.InferenceServerClient(url, **options)
            connection.infer(name, [tensor], **({"client_timeout": 5} if module is grpc else {}))
            answered.append(kind)
        except Exception as error:
            failures.append(f"{kind} at {time.monotonic() - end + seconds:.1f} s: {type(error).__name__}: {error}")
        if not kept and connection is not None:
            connection.close()
            connection = None
        time.sleep(0.05)


clients = [
    threading.Thread(target=client, args=("http", http, f"{host}:8000", False)),
    threading.Thread(target=client, args=("kept http", http, f"{host}:8000", True)),
    threading.Thread(target=client, args=("kept grpc", grpc, f"{host}:8001", True)),
]
for thread in clients:
    thread.start()
for thread in clients:
    thread.join()
least = min(answered.count(kind) for kind in ("http", "kept http", "kept grpc"))
print(f"{least} answered {len(failures)} failed {failures[:3]}")
