"""Runs in a pod: asks a model again and again, over kept connections and new ones, and counts what failed.

It ends after so many seconds, or on SIGUSR1, once another revision has answered all clients that must come to it: Triton
does not ask those that keep an HTTP connection to leave. With the argument "stopped" it ends at once on SIGUSR1. "mlp" asks
the model of that name with numbers.
"""

import signal
import sys
import threading
import time

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http

host, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
PATIENCE = 60.0
KINDS, MUST = ("http", "kept http", "kept grpc"), {"http", "kept grpc"}
begun = time.monotonic()
answered, failures, moved = [], [], set()
ends: list[float] = []
words = set(sys.argv[4:])
rows = np.zeros((1, 2048), dtype=np.int32)
place = ("bytes", "INT32")
if "mlp" in words:
    place, rows = ("x", "FP32"), np.random.default_rng(1).standard_normal((4, 4)).astype(np.float32)
signal.signal(signal.SIGUSR1, lambda *_: ends.append(time.monotonic()))


def over():
    now = time.monotonic()
    if ends:
        return "stopped" in words or moved >= MUST or now > ends[0] + PATIENCE
    return now > begun + seconds


def revision(module, connection):
    config = connection.get_model_config(name, **({"as_json": True} if module is grpc else {}))
    return config.get("config", config)["parameters"]["revision"]["string_value"]


def client(kind, module, url, kept):
    tensor = module.InferInput(place[0], rows.shape, place[1])
    tensor.set_data_from_numpy(rows)
    options = {"connection_timeout": 5, "network_timeout": 5} if module is http else {}
    connection, first, rounds = None, "", 0
    while not over():
        try:
            connection = connection or module.InferenceServerClient(url, **options)
            connection.infer(name, [tensor], **({"client_timeout": 5} if module is grpc else {}))
            answered.append(kind)
            if rounds % 10 == 0 and kind not in moved:
                now = revision(module, connection)
                first = first or now
                if now != first:
                    moved.add(kind)
        except Exception as error:
            failures.append(f"{kind} at {time.monotonic() - begun:.1f} s: {type(error).__name__}: {error}")
        rounds += 1
        if not kept and connection is not None:
            connection.close()
            connection = None
        time.sleep(0.05)


clients = [
    threading.Thread(target=client, args=(kind, module, f"{host}:{port}", kind.startswith("kept")))
    for kind, module, port in zip(KINDS, (http, http, grpc), (8000, 8000, 8001), strict=True)
]
for thread in clients:
    thread.start()
for thread in clients:
    thread.join()
least = min(answered.count(kind) for kind in KINDS)
print(f"{least} answered {len(failures)} failed {len(moved)} moved {failures[:3]}")
