"""`python -m benchmarks.dataplane.limit MODEL SECONDS`: runs per second of ONNX Runtime alone, in a loop."""

import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.dataplane.models import session


def main() -> None:
    """Print the number."""
    loaded, seconds = session(Path(sys.argv[1])), float(sys.argv[2])
    shape = [1 if not isinstance(dim, int) else dim for dim in loaded.get_inputs()[0].shape]
    inputs = {"x": np.random.default_rng(1).standard_normal(shape, np.float32)}
    count, over = 0, time.perf_counter() + seconds / 5
    while time.perf_counter() < over:
        loaded.run(["y"], inputs)
    began = time.perf_counter()
    while time.perf_counter() < began + seconds:
        loaded.run(["y"], inputs)
        count += 1
    print(count / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
