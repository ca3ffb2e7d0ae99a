"""A run as text, and as a page: docs/dataplane-numbers.md."""

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from textwrap import wrap

from benchmarks.dataplane.bars import Verdict
from benchmarks.dataplane.load import PER_CONNECTION
from benchmarks.dataplane.machine import Shares
from benchmarks.dataplane.results import ALONE, Run, middle
from benchmarks.dataplane.subjects import SUBJECTS, TRITON_LEAST
from onnxmodel_runtime.contract.text import plain

COMMAND = "make bench-dataplane"
_COLUMNS = "| server | protocol | at one time | per second | of ONNX Runtime | p50 ms | p99 ms | CPU s per 1,000 |"
_WIDTH = 116
_RULE = "|---|---|---:|---:|---:|---:|---:|---:|"


@dataclass(frozen=True)
class Method:
    """How a run was measured. seconds: of a window, if least_runs inferences fit."""

    rounds: int
    seconds: float
    least_runs: int
    shares: Shares


def lines(run: Run) -> list[str]:
    """The model's table."""
    found = middle(run.alone())
    first = f"| {ALONE} | | | {found.throughput:,.0f} | 100 % | {_times(found.p50, found.p99, found.cpu_per_1000)}"
    subjects = list(dict.fromkeys(subject for subject, _, _ in run.windows if subject != ALONE))
    rows = sorted((key for key in run.windows if key[0] != ALONE), key=lambda key: subjects.index(key[0]))
    return [_COLUMNS, _RULE, first, *(line(run, *key) for key in rows)]


def line(run: Run, subject: str, protocol: str, concurrency: int) -> str:
    """A row: medians over the rounds."""
    found = middle(run.windows[subject, protocol, concurrency])
    share = median(run.ratios("throughput", subject, ALONE, protocol, concurrency))
    return (
        f"| {subject} | {protocol} | {concurrency} | {found.throughput:,.0f} | {100 * share:.1f} % | "
        f"{_times(found.p50, found.p99, found.cpu_per_1000)}"
    )


def _times(p50: float, p99: float, cpu: float) -> str:
    return f"{plain(p50 * 1000, 3)} | {plain(p99 * 1000, 3)} | {cpu:.3f} |"


def page(runs: Sequence[Run], judged: Sequence[Verdict], method: Method) -> str:
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
        *_notes(),
        "",
        *_method(method),
        "",
        *noise(runs, method),
    ]
    for run in runs:
        limits = [figures.throughput for figures in run.alone()]
        text += [
            *("", f"## {run.name}: {run.what}", "", *lines(run), ""),
            f"{ALONE} took {run.load_seconds:.2f} s to load the model. In {len(limits)} windows it ran "
            f"{min(limits):,.0f} to {max(limits):,.0f} times a second.",
            *("", "| server | ready after s | memory idle MB | under load MB |", "|---|---:|---:|---:|"),
        ]
        for name, server in run.servers.items():
            memory = f"{server.idle_memory:,.0f} | {server.loaded_memory:,.0f}"
            text.append(f"| {name} | {server.ready_seconds:.2f} | {memory} |")
    text += ["", "## Bars", "", "```", *(verdict.text for verdict in judged), "```", ""]
    return "\n".join(text)


def _method(method: Method) -> list[str]:
    how = (
        "All servers of a model are up at the same time; one that is not measured is idle and takes less than 1 % of a "
        f"core. For each protocol and number of requests at one time there are {method.rounds} rounds. In a round "
        f"{ALONE} and every server have one window each, one after the other, every other round backwards. A window "
        f"takes {method.seconds:g} s, or as long as {method.least_runs} inferences one after the other where that is "
        "longer; before it, a third of that is not counted. A row shows medians over the rounds. `of ONNX Runtime`, "
        "and every bar on another's figure, is the median of the ratios within a round; beside a bar stand the "
        "smallest and the largest of these ratios."
    )
    return ["## How it was measured", "", *wrap(how, _WIDTH)]


def noise(runs: Sequence[Run], method: Method) -> list[str]:
    """What a reader must know of the machine."""
    apart, time = 100 * max(map(spread, runs)), method.shares
    return wrap(
        f"Windows of {ALONE} with one model lay up to {apart:.0f} % apart (the fastest by the slowest). Of the time of "
        f"the machine's cores its host stole {100 * time.stolen:.1f} %, and other processes took "
        f"{100 * time.others:.1f} %. Windows of one round are seconds apart, so read ratios; figures of different "
        "protocols or of another run are not to be set against each other. What other processes take is not shared "
        "equally within a round: a server with more threads gets more of it back. Above some 5 % make the run again.",
        _WIDTH,
    )


def spread(run: Run) -> float:
    """By how much the fastest window of ONNX Runtime alone was faster than its slowest."""
    limits = [figures.throughput for figures in run.alone()]
    return max(limits) / min(limits) - 1


def _notes() -> list[str]:
    notes = [f"- {subject.name}: {subject.what}." for subject in SUBJECTS]
    notes += [
        f"- `{TRITON_LEAST}` stands in for Triton's native ONNX Runtime backend, which is in no package: it does less, so",
        "  that no native backend can be faster on the overhead model. On the other models Triton runs ONNX Runtime in",
        "  its Python backend, in a process of its own.",
        "- The client is a program of its own (benchmarks/dataplane/load) with canned requests: binary tensors over HTTP,",
        f"  a connection for each request in flight; over gRPC at most {PER_CONNECTION} calls share one. Each answer is",
        "  compared with the first one, and that with ONNX Runtime's.",
        f"- {os.cpu_count()} cores for server and client ({_processor()}), ONNX Runtime {version('onnxruntime')} with one",
        "  thread in every server. Memory: what is a process's own, and what is resident of the files that it maps.",
        f"- Python {platform.python_version()}, {_build()}",
        "- Ready: onnxmodel has run the model by then, at one row and at the most that a request may have, 32; the others",
        "  have run nothing. With a model of 33 ms that takes 33 times as long, which is what its bar is missed by.",
    ]
    return notes


def _build() -> str:
    """The images have Debian's. One that was built without profile-guided optimization runs such servers half as fast."""
    return (
        "the system's." if sys.base_prefix == "/usr" else "not the system's: one built without optimization is slower."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine
