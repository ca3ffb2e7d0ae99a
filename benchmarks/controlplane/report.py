"""The figures as a table beside the bars, and as a page: docs/benchmarks/controlplane.md."""

from dataclasses import dataclass
from typing import TypeVar

from benchmarks.controlplane.ours import Lives, Restart, Touched

T = TypeVar("T")


@dataclass
class Figures:
    """What was measured; None for what was not."""

    empty: Restart | None = None
    life: Lives | None = None
    burst: Lives | None = None
    many: Lives | None = None
    restart: Restart | None = None
    double: Restart | None = None
    models: Touched | None = None
    children: Touched | None = None


@dataclass(frozen=True)
class Row:
    """One figure. before: what it was when the bars were set. bar: it must not be above that; None where there is none."""

    figure: str
    before: str
    rival: str
    bar: float | None
    value: float
    unit: str


def say(what: str, found: T) -> T:
    """Print a part's result at once."""
    print(f"{what}: {found}", flush=True)
    return found


def rows(f: Figures) -> list[Row]:
    """The table's, as far as they were measured."""
    found: list[Row] = []

    def row(figure: str, before: str, rival: str, bar: float | None, value: float, unit: str) -> None:
        found.append(Row(figure, before, rival, bar, value, unit))

    if f.life:
        row("CPU of a life, one at a time", "456 ms", "–", None, f.life.cpu_ms, "ms")
        row("requests of a life, one at a time", "38.8", "–", None, f.life.requests, "")
    if f.burst:
        row(f"CPU of a life, burst of {f.burst.count}", "250 ms", "23 ms for one stage", 70, f.burst.cpu_ms, "ms")
        row(f"requests of a life, burst of {f.burst.count}", "29", "34.8 for one stage", 25, f.burst.requests, "")
    if f.many:
        name = f"of a burst of {f.many.count}"
        row(f"last first Job {name}", "76 s, busy", "11.2 s to all statuses", 10, f.many.first[-1], "s")
        row(f"all Ready {name}", "–", "–", None, f.many.spent.seconds, "s")
        row(f"CPU of a life {name}", "–", "–", None, f.many.cpu_ms, "ms")
        row(f"requests of a life {name}", "–", "–", None, f.many.requests, "")
    if f.models and f.models.turns:
        row(
            "reconcile of a Ready model, nothing changed",
            "15.4 ms",
            "–",
            1,
            1000 * f.models.cpu_seconds / f.models.turns,
            "ms",
        )
    if f.children and f.children.events:
        row("event that changes nothing", "17.5 ms", "–", 1, 1000 * f.children.cpu_seconds / f.children.events, "ms")
    for restart in (f.restart, f.double):
        if restart:
            share = max(1.0, restart.models / 614)
            name = f"restart with {restart.models:,}"
            row(f"{name}: requests", "133", "2,524 at 500", 20, restart.spent.count, "")
            row(f"{name}: CPU", "38.5 s", "1.1 s at 500", 3 * share, restart.spent.cpu_seconds, "s")
            row(f"{name}: writes", "0", "–", 0, restart.spent.writes, "")
            row(f"{name}: time of a reconcile", "–", "–", None, restart.turn_ms, "ms")
            if f.empty:
                each = 1000 * (restart.spent.cpu_seconds - f.empty.spent.cpu_seconds) / restart.models
                row(f"{name}: CPU of a model, the start of an empty operator aside", "–", "–", None, each, "ms")
    if f.empty:
        row("start of an empty operator: CPU", "–", "–", None, f.empty.spent.cpu_seconds, "s")
        row("memory, empty", "82 MB", "63 MB", 80, f.empty.memory / 1e6, "MB")
    for restart in (f.restart, f.double):
        if restart:
            bar = 80 + 0.04 * restart.models
            row(f"memory, {restart.models:,} Ready", "305 MB", "99 MB", bar, restart.memory / 1e6, "MB")
    for lives in (f.burst, f.many):
        if lives:
            name = f"longest stall of the event loop, burst of {lives.count}"
            row(name, "2.3 s", "–", 0.1, lives.stall, "s")
    return found


def table(figures: Figures) -> list[str]:
    """In Markdown."""
    lines = ["| figure | before | KServe | bar | now | |", "|---|---:|---:|---:|---:|---|"]
    for row in rows(figures):
        bar = "–" if row.bar is None else _number(row.bar, row.unit)
        lines.append(
            f"| {row.figure} | {row.before} | {row.rival} | {bar} | {_number(row.value, row.unit)} | {_verdict(row)} |"
        )
    return lines


def held(figures: Figures) -> bool:
    """Whether no bar is missed."""
    return all(row.bar is None or row.value <= row.bar for row in rows(figures))


def page(figures: Figures) -> str:
    """The whole page."""
    return "\n".join(["# The control plane in numbers", "", *table(figures), ""])


def _verdict(row: Row) -> str:
    if row.bar is None:
        return ""
    if row.value <= row.bar:
        return "held"
    return f"missed, {row.value / row.bar:.1f} times the bar" if row.bar else "missed"


def _number(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()
