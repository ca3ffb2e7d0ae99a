"""The figures as a table beside the bars, and as a page: docs/benchmarks/controlplane.md."""

import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from textwrap import wrap
from typing import TypeVar

from benchmarks.controlplane import rival
from benchmarks.controlplane.ours import Collected, Lives, Restart, TakenOver, Touched
from benchmarks.controlplane.rival import Restarted, Served
from benchmarks.dataplane.machine import Shares
from dev.cluster.golang import KUBERNETES

COMMAND = "make bench-controlplane"
_WIDTH = 116
_BARS_AT = 614  # models at which the bars of a restart were set
T = TypeVar("T")
_WHY = {
    "CPU per life": "a request takes 1.5 ms with aiohttp and TLS (docs/decisions/0026), an event takes what this table says, "
    "and a life has some 20 and 60 of them: about the whole target before anything is decided. The rest is "
    "some 20 reconciles of the model, in Python.",
    "all first Jobs": "a model's first Job is its fourth request, and etcd, the API server, the controllers and the simulated "
    "kubelet run on the same cores.",
    "CPU of a reconcile of a Ready model": "in addition to the event, each child is read, the plan is computed "
    "again, and each manifest is compared with the existing object. Keeping the last plan with each model would save most "
    "of that, and cost memory.",
    "CPU of an event that changes nothing: annotation": "the whole model with all of its results is parsed and compared.",
    "restart with": "each model has sixteen objects to parse, and its first reconcile has nothing in its caches.",
    "memory": "most of it is the results in status, and for an hour the same texts in the pods of the finished Jobs.",
    "longest stall": "a watch delivers many events in one chunk, and all cores are busy: the stall includes the machine's own "
    "share.",
}
"""By how a figure begins: why its bar is missed."""


@dataclass
class Figures:
    """All measurements; None for those that were not made. failures: why a part is missing."""

    empty: Restart | None = None
    life: Lives | None = None
    burst: Lives | None = None
    many: Lives | None = None
    restarts: list[Restart] = field(default_factory=list)
    collected: Collected | None = None
    models: Touched | None = None
    children: Touched | None = None
    services: Touched | None = None
    takeovers: list[TakenOver] = field(default_factory=list)
    kserve_empty: Restarted | None = None
    kserve_burst: Served | None = None
    kserve_many: Served | None = None
    kserve_restart: Restarted | None = None
    failures: list[str] = field(default_factory=list)
    shares: Shares | None = None


@dataclass(frozen=True)
class Row:
    """One figure. before: what it was when the bars were set. bar: it must not be above that; None where there is none.

    kserve: KServe's, in this run. then: KServe's when the bars were set.
    """

    figure: str
    value: float
    unit: str
    bar: float | None = None
    before: str = ""
    kserve: float | None = None
    then: float | None = None


def say(what: str, found: T) -> T:
    """Print a part's result at once."""
    print(f"{what}: {found}", flush=True)
    return found


def rows(f: Figures) -> list[Row]:
    """The table's, as far as they were measured."""
    return [*_lives(f), *_at_rest(f), *_restarts(f), *_memory(f), *_others(f)]


def _lives(f: Figures) -> list[Row]:
    found = []
    if f.life:
        found += [
            Row("CPU per life, one at a time", f.life.cpu_ms, "ms", None, "456 ms"),
            Row("requests per life, one at a time", f.life.requests, "", None, "38.8"),
        ]
    for lives, other in ((f.burst, f.kserve_burst), (f.many, f.kserve_many)):
        if lives:
            name, first = f"burst of {lives.count}", lives is f.burst
            cpu, asked = (other.cpu_ms, other.requests) if other else (None, None)
            found += [
                Row(f"CPU per life, {name}", lives.cpu_ms, "ms", 70, "250 ms" * first, cpu, 23),
                Row(f"requests per life, {name}", lives.requests, "", 25, "29" * first, asked),
            ]
    if f.collected:
        each = f.collected.spent.writes / f.collected.models
        found.append(Row("requests per life to delete its finished Jobs, an hour later", each, ""))
    if f.many:
        name, told = f"of a burst of {f.many.count}", f.kserve_many.told_seconds if f.kserve_many else None
        found += [
            Row(f"half of the first Jobs {name} created after", f.many.first[len(f.many.first) // 2], "s"),
            Row(
                f"all first Jobs {name} created after (KServe: all statuses)",
                f.many.first[-1],
                "s",
                10,
                "76 s, busy machine",
                told,
                11.2,
            ),
            Row(
                f"burst of {f.many.count} all Ready after", f.many.spent.seconds, "s", None, "", _seconds(f.kserve_many)
            ),
        ]
    return found


def _at_rest(f: Figures) -> list[Row]:
    found = []
    if f.services and f.services.turns:
        each = 1000 * f.services.cpu_seconds / f.services.turns
        found.append(Row("CPU of a reconcile of a Ready model, nothing changed", each, "ms", 1, "15.4 ms"))
    for touched, what in ((f.models, "annotation of a model"), (f.children, "managed fields of a Deployment")):
        if touched and touched.events:
            each = 1000 * touched.cpu_seconds / touched.events
            name = f"CPU of an event that changes nothing: {what}"
            found.append(Row(name, each, "ms", 1, "17.5 ms"))
    return found


def _restarts(f: Figures) -> list[Row]:
    found = []
    if f.empty:
        asked, cpu = (f.kserve_empty.spent.count, f.kserve_empty.spent.cpu_seconds) if f.kserve_empty else (None, None)
        found += [
            Row("start with 0: requests", f.empty.spent.count, "", None, "", asked),
            Row("start with 0: CPU", f.empty.spent.cpu_seconds, "s", None, "", cpu),
        ]
    for one in f.restarts:
        name, first = f"restart with {_models(one)}", one is f.restarts[0]
        other = f.kserve_restart if first else None
        asked, cpu = (other.spent.count, other.spent.cpu_seconds) if other else (None, None)
        share = max(1.0, one.models / _BARS_AT)
        found += [
            Row(f"{name}: requests", one.spent.count, "", 20 * share, "133" * first, asked),
            Row(f"{name}: CPU", one.spent.cpu_seconds, "s", 3 * share, "38.5 s" * first, cpu, 1.1 * 614 / 500),
            Row(f"{name}: writes", one.spent.writes, "", 0, "0" * first),
            Row(f"{name}: ready after", one.ready_seconds, "s"),
        ]
        if f.empty:
            each = 1000 * (one.spent.cpu_seconds - f.empty.spent.cpu_seconds) / one.models
            found.append(Row(f"{name}: CPU per model", each, "ms"))
        found.append(Row(f"{name}: longest stall of the event loop", one.stall, "s"))
    return found


def _memory(f: Figures) -> list[Row]:
    found = []
    if f.empty:
        other = f.kserve_empty.memory / 1e6 if f.kserve_empty else None
        found.append(Row("memory, empty", f.empty.memory / 1e6, "MB", 80, "82 MB", other, 63))
    for one in f.restarts:
        first = one is f.restarts[0]
        other = f.kserve_restart.memory / 1e6 if f.kserve_restart and first else None
        bar = 80 + 0.04 * one.models
        found.append(Row(f"memory, {_models(one)} Ready", one.memory / 1e6, "MB", bar, "305 MB" * first, other, 99))
    return found


def _others(f: Figures) -> list[Row]:
    found = []
    for lives in (f.burst, f.many):
        if lives:
            name = f"longest stall of the event loop, burst of {lives.count}"
            found.append(Row(name, lives.stall, "s", 0.1, "2.3 s"))
    for taken in f.takeovers:
        found.append(Row(f"takeover with {taken.models:,} after {taken.how}", taken.seconds, "s", 20))
    return found


def _models(restart: Restart) -> str:
    """Describe the number of models and their state."""
    return f"{restart.models:,}" if restart.jobs else f"{restart.models:,} an hour later"


def _seconds(served: Served | None) -> float | None:
    return served.spent.seconds if served else None


def table(figures: Figures) -> list[str]:
    """In Markdown."""
    lines = ["| figure | before | KServe | target | now | |", "|---|---:|---:|---:|---:|---|"]
    for row in rows(figures):
        cells = (_cell(row.kserve, row.unit), _cell(row.bar, row.unit), _cell(row.value, row.unit))
        lines.append(f"| {row.figure} | {row.before} | {' | '.join(cells)} | {_verdict(row)} |")
    return lines


def held(figures: Figures) -> bool:
    """Return whether no bar is missed and no part failed."""
    return not figures.failures and all(row.bar is None or row.value <= row.bar for row in rows(figures))


def page(figures: Figures) -> str:
    """The whole page."""
    return "\n".join(
        [
            "# The control plane in numbers",
            "",
            "This page shows what the operator costs in CPU, memory and API requests. It is generated by",
            "",
            *("```sh", COMMAND, "```", ""),
            *table(figures),
            "",
            *_beside(figures),
            *_missed(figures),
            *_how(figures),
            "",
        ]
    )


def _beside(figures: Figures) -> list[str]:
    """The bars as ratios: machines differ, and KServe's controller shows by how much."""
    found = [row for row in rows(figures) if row.kserve and row.then and row.bar]
    text = (
        "The KServe then column shows KServe's controller when the targets were set, on a machine that was faster or less busy, "
        "with a slightly different setup. So this table shows the targets and the operator as multiples of KServe's controller:"
    )
    lines = [
        "## Compared with KServe",
        "",
        *wrap(text, _WIDTH),
        "",
        "| figure | KServe then | KServe now | target / KServe then | now / KServe now | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for row in found:
        assert row.kserve
        assert row.then
        assert row.bar
        bar, now = row.bar / row.then, row.value / row.kserve
        cells = (_number(row.then, row.unit), _number(row.kserve, row.unit), f"{bar:.2f}", f"{now:.2f}")
        lines.append(f"| {row.figure} | {' | '.join(cells)} | {'met' if now <= bar else 'missed'} |")
    return [*lines, ""] if found else []


def _missed(figures: Figures) -> list[str]:
    missed = [row for row in rows(figures) if row.bar is not None and not row.value <= row.bar]
    lines = ["## Missed targets", ""]
    for row in missed:
        by = f", {row.value / row.bar:.1f} times the target" if row.bar else ""
        lines.append(f"- {row.figure}: {_number(row.value, row.unit)} of {_number(row.bar or 0, row.unit)}{by}.")
    for begins, why in _WHY.items():
        if any(row.figure.startswith(begins) for row in missed):
            lines += ["", *wrap(f"Why, {begins}: {why}", _WIDTH)]
    lines += [""] * bool(figures.failures)
    lines += [f"- A part could not be measured: {failure}" for failure in figures.failures]
    return [*lines, ""] if missed or figures.failures else []


def _how(figures: Figures) -> list[str]:
    notes = [
        f"etcd, the API server and the controller manager are Kubernetes {KUBERNETES}, on {os.cpu_count()} cores "
        f"({_processor()}) that they share with the operator and with this program, so seconds are upper bounds. "
        f"Python {platform.python_version()}, aiohttp {version('aiohttp')}.",
        *_noise(figures.shares),
        "The operator is a separate process with the chart's permissions, and uses TLS with a ServiceAccount's "
        "token. Its CPU is user and system time from /proc, its memory is VmRSS, and its requests are the lines "
        "of the audit log with its name, including reads and watches, except those for Leases.",
        "The kubelet is simulated by one more process: a Job's pod ends at once with the outcome of its stage, "
        "any other pod becomes ready at once. No two outcomes have the same text. A life is the time of a model "
        "from created to Ready: a volume, five Jobs, a Deployment, its record, and Services.",
        "A part starts with a new, idle process, and ends when the process has sent no request for two seconds "
        "and takes less than 5 % of a core. The CPU of a restart covers everything from the start of the "
        "process, including imports. Its target grows with the number of models.",
        f"Up to {figures.restarts[0].models if figures.restarts else _BARS_AT:,} models have really lived, except "
        "for a few; the others are copies of one life in etcd, with different names, uids and digests. A restart "
        "with them writes nothing, which proves that they are what real lives would have left.",
        "An event that changes nothing: on each model an annotation that nobody reads; on each Deployment "
        "another field manager that first owns a label and then does not, so that only managed fields and the "
        "resource version change. A reconcile where nothing changed: a foreign annotation on each Service; the "
        "event is part of the figure.",
        "An hour later: finished Jobs and their pods are kept for an hour, and then deleted. The requests for "
        "that are not part of a life.",
        "Stalls: the lag of a timer that is due ten times a second; the longest since the start of the process.",
        "Takeover: two replicas with a Lease; from the signal to the leader until the standby has created the "
        "first Job of a model that was created at that moment.",
        f"KServe is its controller from its Go module at {rival.version()}, without Knative, with its webhooks "
        "for InferenceServices and pods, and its defaults: for each InferenceService a Deployment, a Service, an "
        "autoscaler and an Ingress, and the storage initializer in the pod. It runs no Jobs, so its life is one "
        "stage of ours. No client-side rate limit.",
        "Before: the figures when the targets were set, with kopf.",
    ]
    lines = ["## How it was measured", ""]
    for note in notes:
        first, *rest = wrap(note, _WIDTH - 2)
        lines += [f"- {first}", *(f"  {line}" for line in rest)]
    return lines


def _noise(shares: Shares | None) -> list[str]:
    if shares is None:
        return []
    return [
        f"The host stole {100 * shares.stolen:.1f} % of the cores' time, and processes that are not part of this benchmark took "
        f"{100 * shares.others:.1f} %. Seconds and stalls grow with both; above about 5 %, repeat the run."
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine


def _verdict(row: Row) -> str:
    if row.bar is None:
        return ""
    if row.value <= row.bar:
        return "met"
    return f"missed, × {row.value / row.bar:.1f}" if row.bar else "missed"


def _cell(value: float | None, unit: str) -> str:
    return "" if value is None else _number(value, unit)


def _number(value: float, unit: str) -> str:
    if float(value).is_integer() and not unit:
        return f"{value:,.0f}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f} {unit}".strip()
