"""Measure what comparing live answers costs the server that answers: `python -m benchmarks.compare [--write FILE]`.

The same server, asked by the same client: without an order to compare, with one that takes no sample, with one that takes a
tenth of the requests, and with all. The candidate is a second server on the same machine. The states take turns, and each is
compared with the first one of its round, since the machine does other things as well.
"""

import argparse
import asyncio
import itertools
import json
import math
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import numpy as np

from benchmarks.dataplane import models
from benchmarks.dataplane.client import Load
from benchmarks.dataplane.results import Figures
from benchmarks.dataplane.subjects import ROOT, SUBJECTS, Running, running
from onnxmodel_runtime.contract.codec import loads
from onnxmodel_runtime.contract.compare import HEADER, METRIC, CompareOrder
from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.server import comparing, service
from onnxmodel_runtime.server.main import serve
from onnxmodel_runtime.server.protocol.request import InferRequest, ModelSpec

_STATES = {"not compared": 0.0, "no sample": 1e-9, "10 %": 10.0, "100 %": 100.0}
_CONCURRENCY, _WARM, _SECONDS, _ROUNDS = 8, 1.0, 1.5, 40
_LEASE_SECONDS = 0.8
_HOST = "127.0.0.1"


def _serve(request: str, candidate: int) -> int:
    """A server that finds its candidate at this port, and soon forgets an order."""
    vars(comparing).update(LEASE_SECONDS=_LEASE_SECONDS)
    vars(service).update(in_cluster=lambda *_: lambda _: (_HOST, candidate))
    return serve(loads(ServeRequest, request))


def _measure(load: Load, case: models.Case, scratch: Path) -> list[str]:
    ours = SUBJECTS[0]
    with running(ours, case, scratch / "candidate") as candidate:

        def start(case: models.Case, directory: Path, http: int, grpc: int) -> tuple[list[str], dict[str, str]]:
            command, _ = ours.start(case, directory, http, grpc)
            ports["metrics"] = json.loads(command[-1])["metrics_port"]
            more = ["-m", "benchmarks.compare", "--serve", command[-1], "--candidate", str(candidate.ports["http"])]
            return [sys.executable, *more], {"PYTHONPATH": str(ROOT)}

        ports: dict[str, int] = {}
        with running(replace(ours, start=start), case, scratch / "answers") as server:
            return _rounds(load, case, server, ports["metrics"])


def _rounds(load: Load, case: models.Case, server: Running, metrics: int) -> list[str]:
    found: dict[str, list[Figures]] = {state: [] for state in _STATES}
    counts: dict[str, list[float]] = {state: [] for state in _STATES}
    chance, numbers = random.Random(7), itertools.count()
    for _ in range(_ROUNDS):
        for state in chance.sample(list(_STATES), len(_STATES)):
            ended, percent = threading.Event(), _STATES[state]
            revision = f"{next(numbers):08x}"  # so that no sample of another state is compared
            order = CompareOrder(revision, percent).text() if percent else ""
            reading = threading.Thread(target=_read_on, args=(metrics, order, ended))
            reading.start()
            found[state].append(load.run(case, server, "http", _CONCURRENCY, _WARM, _SECONDS))
            counts[state].append(_compared(metrics, revision) / (_WARM + _SECONDS) if percent else 0.0)
            ended.set()
            reading.join()
    return [
        f"| {case.name} | {state} | {_cells(each, found)} | {_median(counts[state]):.3g} |"
        for state, each in found.items()
    ]


def _cells(figures: Sequence[Figures], found: Mapping[str, Sequence[Figures]]) -> str:
    """Each figure, and its ratio to that of the first state in the same round."""
    first, cells = next(iter(found.values())), []
    for name, shown in (("throughput", "{:,.0f}"), ("p99", "{:.3g}"), ("cpu_per_1000", "{:.3g}")):
        mine, others = ([getattr(each, name) for each in group] for group in (figures, first))
        cells += [shown.format(_median(mine) * (1000 if name == "p99" else 1)), _ratios(mine, others)]
    return " | ".join(cells)


def _read_on(port: int, order: str, ended: threading.Event) -> None:
    """Read the metrics more often than the operator does, with an order or without."""
    while not ended.is_set():
        _read(port, order)
        ended.wait(_LEASE_SECONDS / 4)


def _read(port: int, order: str = "") -> str:
    connection = HTTPConnection(_HOST, port, timeout=10)
    connection.request("GET", "/metrics", headers={HEADER: order} if order else {})
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def _compared(port: int, revision: str) -> int:
    return sum(
        int(line.split()[-1])
        for line in _read(port).splitlines()
        if line.startswith(METRIC) and f'"{revision}"' in line and ('"agreed"' in line or '"differed"' in line)
    )


async def _alone() -> tuple[float, float]:
    """Microseconds of processor time of a look at a request, and of taking a sample of 128 KiB each way."""
    found = comparing.Comparing("m", lambda _: (_HOST, 1))
    found._thread = threading.current_thread()  # none starts: samples stay
    tensors = (Tensor("x", "FP32", (-1,)),), (Tensor("y", "FP32", (-1,)),)
    x = np.zeros((1 << 15,), np.float32)
    sample = (ModelSpec("m", *tensors), InferRequest("", {"x": x}, ("y",), 1), {"y": x})
    found.follow(CompareOrder("0a0a0a0a", 1e-9).text())
    looks = _processor_time(lambda: found.offer(*sample), 100_000)
    found.follow(CompareOrder("0a0a0a0a", 100).text())
    taken = []
    for _ in range(200):
        taken.append(_processor_time(lambda: found.offer(*sample), comparing.MOST_SAMPLES))
        await asyncio.sleep(0)
        while not found._samples.empty():
            found._removed += found._samples.get().size
    return looks, _median(taken)


def _processor_time(action: Callable[[], None], times: int) -> float:
    began = time.thread_time()
    for _ in range(times):
        action()
    return (time.thread_time() - began) / times * 1e6


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _ratios(values: Sequence[float], others: Sequence[float]) -> str:
    """The median of the ratios within each round, and the interval in which it is with 95 % confidence, by their ranks."""
    ratios = sorted(value / other for value, other in zip(values, others, strict=True))
    away = 0.98 * math.sqrt(len(ratios))
    low, high = math.floor(len(ratios) / 2 - away), math.ceil(len(ratios) / 2 + away)
    return f"{_median(ratios):.3f} ({ratios[max(0, low)]:.3f} to {ratios[min(high, len(ratios) - 1)]:.3f})"


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--serve")
    parser.add_argument("--candidate", type=int)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    if arguments.serve:
        return _serve(arguments.serve, arguments.candidate)
    with tempfile.TemporaryDirectory() as folder:
        load, scratch = Load(Path(folder)), Path(folder)
        rows = [row for name in ("overhead", "middle") for row in _measure(load, models.case(name, scratch), scratch)]
    looks, taken = asyncio.run(_alone())
    page = _PAGE.format(
        looks=looks,
        taken=taken,
        rows="\n".join(rows),
        cores=os.cpu_count(),
        concurrency=_CONCURRENCY,
        rounds=_ROUNDS,
        seconds=_SECONDS,
    )
    print(page)
    if arguments.write:
        arguments.write.write_text(page)
    return 0


_PAGE = """# Comparing live answers in numbers

This page shows what [compared answers](../rollouts.md#compared-answers) cost the server that answers. It is generated
by

```sh
make bench-compare
```

| model | compared | answers/s | × | p99 ms | × | CPU ms per answer | × | comparisons/s |
|---|---|---:|---:|---:|---:|---:|---:|---:|
{rows}

- overhead: one Add of 16 numbers. middle: some 3.5 ms on one thread; each answer has 128 KiB, as each request.
- "no sample" has an order, and looks at each request; "10 %" and "100 %" are what `compare.percent` says. The work is
  bounded by time, so few are compared.
- × is the ratio to "not compared": the median of the ratios within each of {rounds} rounds, and the interval in which
  it is with 95 % confidence. In a round the states take turns in a random order, {seconds:g} s each after a warm-up.
  Where the interval encloses 1, no difference was measured.
- CPU is that of the server's process alone.
- Other work on the machine makes the intervals wide: a difference that is smaller than they are would not be seen here.
  What a request itself pays was measured alone, in processor time: {looks:.2f} µs for the look while an order holds, and
  {taken:.1f} µs for a sample that is taken. The thread that compares rests 99 times as long as it worked.
- Client ({concurrency} connections, HTTP, binary tensors), server and candidate share {cores} cores, which had other work
  to do as well.
"""

if __name__ == "__main__":
    sys.exit(main())
