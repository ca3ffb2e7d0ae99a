"""Runs in a pod: asks a model again and again, over kept connections and new ones, and counts what failed.

It ends a little after another revision has answered all clients that must come to it, and after so many seconds in any
case. Triton does not ask those that keep an HTTP connection to leave. With the argument "told" it ends when it gets
SIGUSR1, because clients meet several revisions while a canary shares the traffic; with "stopped" at once then.
"mlp" asks the model of that name with numbers.
"""

import signal
import sys
import threading
import time

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http

host, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
AFTER, PATIENCE = 3.0, 60.0
KINDS, MUST = ("http", "kept http", "kept grpc"), {"http", "kept grpc"}
begun = time.monotonic()
answered, failures, moved = [], [], {}
ends: list[float] = []
words = set(sys.argv[4:])
waits, rows = bool(words & {"told", "stopped"}), np.zeros((1, 2048), dtype=np.int32)
place = ("bytes", "INT32")
if "mlp" in words:
    place, rows = ("x", "FP32"), np.random.default_rng(1).standard_normal((4, 4)).astype(np.float32)
signal.signal(signal.SIGUSR1, lambda *_: ends.append(time.monotonic()))


def over():
    now = time.monotonic()
    if waits and now <= begun + seconds:
        return ends and ("stopped" in words or moved.keys() >= MUST or now > ends[0] + PATIENCE)
    return now > begun + seconds or (moved.keys() >= MUST and now > max(list(moved.values())) + AFTER)


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
                    moved[kind] = time.monotonic()
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
