"""`python -m benchmarks.dataplane.limit MODEL`: ONNX Runtime alone, a process that runs in a loop when it is told to.

It prints the seconds that its session took; then, for each line `WARM SECONDS` on its standard input, the figures of a
window. In between it waits and takes no CPU.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.dataplane.models import Case, session
from benchmarks.dataplane.results import Figures
from benchmarks.dataplane.subjects import ROOT


@dataclass
class Limit:
    """The process."""

    process: subprocess.Popen[str]
    load_seconds: float

    def run(self, warm: float, seconds: float) -> Figures:
        """Measure one window, after a warm-up."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{warm} {seconds}\n")
        self.process.stdin.flush()
        return Figures(**json.loads(_line(self.process)))


@contextlib.contextmanager
def alone(case: Case) -> Iterator[Limit]:
    """ONNX Runtime with the model, until the block ends."""
    command = [sys.executable, "-m", "benchmarks.dataplane.limit", str(case.path)]
    pipe = subprocess.PIPE
    # A session of its own, as each server has: Linux shares a busy machine between sessions.
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        yield Limit(process, float(_line(process)))


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"ONNX Runtime alone ended with exit code {process.wait()}")
    return line


def main() -> None:
    """Serve windows until the input ends."""
    began = time.perf_counter()
    loaded = session(Path(sys.argv[1]))
    print(time.perf_counter() - began, flush=True)
    shape = [1 if not isinstance(dim, int) else dim for dim in loaded.get_inputs()[0].shape]
    inputs = {"x": np.random.default_rng(1).standard_normal(shape, np.float32)}

    def loop(seconds: float) -> list[float]:
        """Run the model for so long.

        Return the time at which the first run began, then that at which each run ended.
        """
        times = [time.perf_counter()]
        while times[-1] < times[0] + seconds:
            loaded.run(["y"], inputs)
            times.append(time.perf_counter())
        return times

    for line in sys.stdin:
        warm, seconds = map(float, line.split())
        loop(warm)
        cpu = time.process_time()
        times = loop(seconds)
        cpu = time.process_time() - cpu
        taken = np.diff(times)
        p50, p99 = np.quantile(taken, (0.5, 0.99))
        figures = Figures(len(taken) / (times[-1] - times[0]), float(p50), float(p99), cpu / len(taken) * 1000)
        print(json.dumps(asdict(figures)), flush=True)


if __name__ == "__main__":
    main()
