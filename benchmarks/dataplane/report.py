"""A run as text, and as a page: docs/dataplane-numbers.md."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.dataplane.load import PER_CONNECTION, Figures
from benchmarks.dataplane.subjects import KSERVE, OURS, SUBJECTS, TRITON, TRITON_LEAST

COMMAND = "make bench-dataplane"
QUIET = 0.1
"""By how much ONNX Runtime alone may differ within a run on a quiet machine."""
_COLUMNS = "| server | protocol | at one time | per second | of ONNX Runtime | p50 ms | p99 ms | CPU s per 1,000 |"
_RULE = "|---|---|---:|---:|---:|---:|---:|---:|"


@dataclass(frozen=True)
class Row:
    """One window."""

    subject: str
    protocol: str
    concurrency: int
    figures: Figures


@dataclass
class Run:
    """A model: ONNX Runtime alone, before and after each server; the windows; ready and memory of each server."""

    name: str
    what: str
    limits: list[float]
    rows: list[Row] = field(default_factory=list)
    servers: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def find(self, subject: str, protocol: str, concurrency: int) -> Figures | None:
        """The figures of a window, if it was measured."""
        for row in self.rows:
            if (row.subject, row.protocol, row.concurrency) == (subject, protocol, concurrency):
                return row.figures
        return None


@dataclass(frozen=True)
class Verdict:
    """A bar, and whether it was held."""

    text: str
    held: bool


def lines(run: Run) -> list[str]:
    """The model's table."""
    limit = median(run.limits)
    table = [_COLUMNS, _RULE, f"| ONNX Runtime in a loop | | | {limit:,.0f} | 100 % | {1000 / limit:.3g} | | |"]
    for row in run.rows:
        found = row.figures
        table.append(
            f"| {row.subject} | {row.protocol} | {row.concurrency} | {found.throughput:,.0f} | "
            f"{100 * found.throughput / limit:.1f} % | {found.p50 * 1000:.3g} | {found.p99 * 1000:.3g} | "
            f"{found.cpu_per_1000:.3f} |"
        )
    return table


def verdicts(runs: Sequence[Run]) -> list[Verdict]:
    """Every bar that this run can judge."""
    found = []
    for run in runs:
        for protocol in ("http", "grpc"):
            for concurrency in (8, 32):
                ours = run.find(OURS, protocol, concurrency)
                if ours is not None:
                    found += _judge(run, protocol, concurrency, ours)
    return found


def _judge(run: Run, protocol: str, concurrency: int, ours: Figures) -> list[Verdict]:
    where = f"{run.name}, {protocol}, {concurrency} at one time"
    found = []

    def bar(what: str, value: float, least: float) -> None:
        held = value >= least
        found.append(Verdict(f"{'held  ' if held else 'MISSED'} {where}: {what} {value:.2f}, bar {least:.2f}", held))

    if run.name != "overhead":
        bar("of ONNX Runtime alone", ours.throughput / median(run.limits), 0.97)
    triton = run.find(TRITON_LEAST if run.name == "overhead" else TRITON, protocol, concurrency)
    if triton is not None:
        bar("of Triton's throughput", ours.throughput / triton.throughput, 0.85 if run.name == "overhead" else 1.0)
        if run.name == "overhead":
            bar("Triton's CPU by ours", triton.cpu_per_1000 / ours.cpu_per_1000, 1 / 1.5)
        else:
            bar("Triton's p99 by ours", triton.p99 / ours.p99, 1.0)
    kserve = run.find(KSERVE, protocol, concurrency)
    if kserve is not None and run.name == "overhead" and protocol == "grpc":
        bar("of KServe's throughput", ours.throughput / kserve.throughput, 5.0)
    return found


def page(runs: Sequence[Run], judged: Sequence[Verdict], seconds: float) -> str:
    """The whole page as Markdown."""
    text = [
        "# The data plane in numbers",
        "",
        "Our ONNX Runtime server next to other servers of the Open Inference Protocol, and to ONNX Runtime in a loop",
        "without any server, in one run. This page is made by",
        "",
        "```sh",
        COMMAND,
        "```",
        "",
        *_notes(seconds),
        *_doubts(runs),
    ]
    for run in runs:
        text += ["", f"## {run.name}: {run.what}", "", *lines(run)]
        spread = _spread(run)
        text += [
            "",
            f"ONNX Runtime in a loop was measured {len(run.limits)} times; they lie {100 * spread:.0f} % apart.",
        ]
        text += ["", "| server | ready after s | memory idle MiB | under load MiB |", "|---|---:|---:|---:|"]
        for name, (ready, idle, loaded) in run.servers.items():
            text.append(f"| {name} | {ready:.2f} | {idle:,.0f} | {loaded:,.0f} |")
    text += ["", "## Bars", "", "```", *(verdict.text for verdict in judged), "```", ""]
    return "\n".join(text)


def _spread(run: Run) -> float:
    return max(run.limits) / min(run.limits) - 1


def _doubts(runs: Sequence[Run]) -> list[str]:
    """What a reader must know when the machine did other things too."""
    if max(map(_spread, runs)) < QUIET:
        return []
    return [
        "",
        "**This run shared its cores with other work:** ONNX Runtime alone was not equally fast all the time (below). Read",
        "the CPU per 1,000 of neighbouring rows against each other. Throughput and latency, and the bars on them, say",
        "little: a server with more threads gets more of a busy machine, and one that was measured later another share.",
    ]


def _notes(seconds: float) -> list[str]:
    notes = [f"- {subject.name}: {subject.what}." for subject in SUBJECTS]
    notes += [
        f"- `{TRITON_LEAST}` stands in for Triton's native ONNX Runtime backend, which is in no package: it does less, so",
        "  that no native backend can be faster on the overhead model. On the other models Triton runs ONNX Runtime in",
        "  its Python backend, in a process of its own.",
        "- The client is a program of its own (benchmarks/dataplane/load) with canned requests: binary tensors over HTTP,",
        f"  a connection for each request in flight; over gRPC at most {PER_CONNECTION} calls share one. Each answer is",
        "  compared with the first one, and that with ONNX Runtime's.",
        f"- {os.cpu_count()} cores for server and client ({_processor()}), windows of {seconds:g} s, ONNX Runtime",
        f"  {version('onnxruntime')} with one thread in every server. Memory: proportional set size of all its processes.",
    ]
    return notes


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine
