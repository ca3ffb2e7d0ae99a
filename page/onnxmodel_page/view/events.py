"""Events of a model, newest first: one line for each, however often it was repeated."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_MOST = 50


@dataclass(frozen=True, slots=True)
class Told:
    """An event. seen: when it was last seen, "" where unknown."""

    type: str
    reason: str
    message: str
    count: int
    seen: str
    about: str


def told(items: Iterable[Mapping[str, Any]]) -> tuple[Told, ...]:
    """Return the newest events, as the API server returned them."""
    found = [_told(item) for item in items]
    return tuple(sorted(found, key=lambda one: one.seen, reverse=True)[:_MOST])


def _told(item: Mapping[str, Any]) -> Told:
    # The fields that hold the time and the count depend on the event's author.
    series = item.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        item.get("lastTimestamp"),
        item.get("eventTime"),
        item.get("firstTimestamp"),
    )
    about = item.get("involvedObject") or {}
    return Told(
        type=item.get("type") or "Normal",
        reason=item.get("reason") or "",
        message=item.get("message") or "",
        count=series.get("count") or item.get("count") or 1,
        seen=next((str(time)[:19] + "Z" for time in times if time), ""),
        about=f"{about.get('kind', '')} {about.get('name', '')}".strip(),
    )
