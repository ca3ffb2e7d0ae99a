"""Runs in a pod: asks a model again and again for some seconds, a new connection each time; counts what failed."""

import sys
import time

import numpy as np
import tritonclient.http as http

host, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
tensor = http.InferInput("bytes", (1, 2048), "INT32")
tensor.set_data_from_numpy(np.zeros((1, 2048), dtype=np.int32))
answered, failures = 0, []
end = time.monotonic() + seconds
while time.monotonic() < end:
    try:
        with http.InferenceServerClient(f"{host}:8000", connection_timeout=5, network_timeout=5) as client:
            client.infer(name, [tensor])
        answered += 1
    except Exception as error:
        failures.append(f"{type(error).__name__}: {error}")
    time.sleep(0.05)
print(f"{answered} answered {len(failures)} failed {failures[:3]}")
