"""Bars that the server must reach, on ratios within a round: these hold where the machine's speed changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.dataplane.results import ALONE, Run
from benchmarks.dataplane.subjects import KSERVE, OURS, TRITON, TRITON_LEAST

CONCURRENCY = (8, 32)
MEMORY_MB = 200
READY_SECONDS = 1.0


@dataclass(frozen=True)
class Bar:
    """A figure of ours by that of another; least, or else most, that it may be.

    It is compared as it is printed. Where both are limited by the same ONNX Runtime that is two digits: 0.996 of
    Triton's throughput is 1.00 and counts as as much.
    """

    figure: str
    other: str
    least: float | None = None
    most: float | None = None
    digits: int = 3
    protocols: tuple[str, ...] = ("http", "grpc")


OVERHEAD = (
    Bar("throughput", TRITON_LEAST, least=0.85),
    Bar("cpu_per_1000", TRITON_LEAST, most=1.5),
    Bar("throughput", KSERVE, least=5.0, protocols=("grpc",)),
)
"""Of the model that does next to nothing."""
INFERENCE = (
    Bar("throughput", ALONE, least=0.97),
    Bar("throughput", TRITON, least=1.0, digits=2),
    Bar("p99", TRITON, most=1.0, digits=2),
)
"""Of models of 3 ms and more."""
_NAMES = {"throughput": "throughput", "cpu_per_1000": "CPU", "p99": "p99"}


@dataclass(frozen=True)
class Verdict:
    """A target, and whether it was met."""

    text: str
    held: bool


def verdicts(runs: Sequence[Run]) -> list[Verdict]:
    """Every bar that these runs can judge."""
    found = []
    for run in runs:
        for protocol in ("http", "grpc"):
            for concurrency in CONCURRENCY:
                for bar in OVERHEAD if run.name == "overhead" else INFERENCE:
                    ratios = run.ratios(bar.figure, OURS, bar.other, protocol, concurrency)
                    if ratios and protocol in bar.protocols:
                        found.append(_ratio(f"{run.name}, {protocol}, concurrency {concurrency}", bar, ratios))
        found += _server(run)
    return found


def _ratio(where: str, bar: Bar, ratios: Sequence[float]) -> Verdict:
    value = round(median(ratios), bar.digits)
    if bar.least is not None:
        held, bound = value >= bar.least, f"at least {bar.least:.2f}"
    else:
        assert bar.most is not None
        held, bound = value <= bar.most, f"at most {bar.most:.2f}"
    low, high = min(ratios), max(ratios)
    what = f"{_NAMES[bar.figure]} relative to {bar.other}"
    return _verdict(held, f"{where}: {what}: {value:.{bar.digits}f} ({low:.2f} to {high:.2f}), target {bound}")


def _server(run: Run) -> list[Verdict]:
    server = run.servers.get(OURS)
    if server is None:
        return []
    memory, ready, most = server.idle_memory, server.ready_seconds, READY_SECONDS + run.load_seconds
    bound = f"less than {READY_SECONDS:g} s plus the model's load time, {run.load_seconds:.2f} s"
    return [
        _verdict(memory < MEMORY_MB, f"{run.name}: idle memory {memory:.0f} MB, target less than {MEMORY_MB} MB"),
        _verdict(ready < most, f"{run.name}: ready after {ready:.2f} s, target {bound}"),
    ]


def _verdict(held: bool, text: str) -> Verdict:
    return Verdict(f"{'met   ' if held else 'MISSED'} {text}", held)
