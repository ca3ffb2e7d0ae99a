"""All that the page shows of one model."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onnxmodel_operator.api.status import Measured, RevisionStatus
from onnxmodel_page.view.events import Told, told
from onnxmodel_page.view.pipeline import Link, pipeline
from onnxmodel_page.view.row import Row, line
from onnxmodel_page.view.seen import Limits, Seen, see

_COMPUTED = {"stages", "active", "target", "history"}
"""Blocks of status that the page shows in a form of its own."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One row of figures. source: the place of the measurement: asked, session, served or before."""

    source: str
    name: str
    p50: float | None
    p95: float | None
    p99: float | None
    throughput: float | None
    where: str = ""
    noisy: bool = False


@dataclass(frozen=True, slots=True)
class RevisionLine:
    """A revision, and its role: serves, next or earlier. share: percent of the traffic that it shall have, if two share it."""

    role: str
    revision: str
    variant: str
    provider: str
    runtime: str
    time: str
    p99: float | None
    throughput: float | None
    source_sha256: str
    missed: str
    share: int | None
    measured_share: int | None


@dataclass(frozen=True, slots=True)
class Detail:
    """One model. status: the other blocks of status, as the API server stores them."""

    row: Row
    generation: int
    observed: bool
    source: str
    limits: Limits
    pipeline: tuple[Link, ...]
    figures: tuple[Figures, ...]
    revisions: tuple[RevisionLine, ...]
    status: Mapping[str, Any]
    events: tuple[Told, ...]


def detail(body: Mapping[str, Any], events: Iterable[Mapping[str, Any]] = ()) -> Detail:
    """Return all that the page shows of a model and its events, as the API server returned them."""
    seen = see(body)
    stored = seen.status.dump()
    return Detail(
        row=line(seen),
        generation=seen.metadata.get("generation") or 0,
        observed=seen.observed,
        source=str((seen.spec.get("source") or {}).get("uri") or ""),
        limits=seen.limits,
        pipeline=pipeline(seen),
        figures=tuple(_figures(seen)),
        revisions=tuple(_revisions(seen)),
        status={name: value for name, value in stored.items() if name not in _COMPUTED},
        events=told(events),
    )


def _figures(seen: Seen) -> Iterator[Figures]:
    revision = seen.serving
    if seen.limits != Limits():
        limits = seen.limits
        yield Figures(
            "asked", "constraints of the spec", None, None, limits.p99_milliseconds, limits.throughput_per_second
        )
    if revision and revision.served:
        yield _measured("served", f"{revision.variant}, served", revision.served, "a client of one replica")
    if revision and revision.measured:
        yield _measured("session", f"{revision.variant}, session", revision.measured, revision.measured_on or "")
    if revision and revision.against:
        before = revision.against
        yield _measured("before", f"revision {before.revision}", before.measured, before.measured_on)
    if not revision and seen.status.benchmark:
        newest = seen.status.benchmark
        place = newest.accelerator or newest.processor
        yield _measured("session", f"{newest.variant}, session", newest.winner, place)


def _measured(source: str, name: str, found: Measured, where: str) -> Figures:
    return Figures(
        source,
        name,
        found.p50_milliseconds,
        found.p95_milliseconds,
        found.p99_milliseconds,
        found.throughput_per_second,
        f"{where}; throughput at batch size {found.batch_size}, concurrency {found.concurrency}",
        bool(found.noisy),
    )


def _revisions(seen: Seen) -> Iterator[RevisionLine]:
    status = seen.status
    selected = status.serving.revision if status.serving else ""
    shares = {item.revision: item for item in status.traffic or ()}
    met = set()
    for item in (status.target, status.active, *(status.history or ())):
        if item is None or item.revision in met:
            continue
        met.add(item.revision)
        role = "serves" if item.revision == selected else "next" if item is status.target else "earlier"
        share = shares.get(item.revision)
        yield _revision(role, item, share.wanted if share else None, share.measured if share else None)


def _revision(role: str, item: RevisionStatus, share: int | None, measured: int | None) -> RevisionLine:
    return RevisionLine(
        role,
        item.revision,
        item.variant,
        item.provider or "",
        item.runtime or "",
        item.time,
        item.served.p99_milliseconds if item.served else None,
        item.served.throughput_per_second if item.served else None,
        item.source_sha256 or "",
        item.missed or "",
        share,
        measured,
    )
