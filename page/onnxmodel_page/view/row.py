"""One line of the list: what people look for among thousands of models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxmodel_page.view.seen import Health, Seen, see

_WORDS = 300
"""Characters of a message in the list; the model's own view has all of them."""
_UNREAD = frozenset(
    {"stages", "variants", "findings", "benchmark", "rollout", "traffic", "autoscaling", "upgrade", "lastFailure"}
)
"""Most of a status, and half of the time that a list takes."""


@dataclass(frozen=True, slots=True)
class Row:
    """A model in the list.

    available: a revision serves, perhaps an older one. p99 in milliseconds and throughput per second: what a client measured
    before the revision received traffic; the limits: what the spec demands. version: the resource's, which tells the
    browser that there is news.
    """

    namespace: str
    name: str
    version: str
    created: str
    health: str
    phase: str
    reason: str
    message: str
    available: bool
    runtime: str
    provider: str
    variant: str
    replicas: str
    p99: float | None
    p99_limit: float | None
    throughput: float | None
    throughput_limit: float | None
    unit: str


def row(body: Mapping[str, Any]) -> Row:
    """Return the line of a model, as the API server returned it."""
    return line(see(body, _UNREAD))


def line(seen: Seen) -> Row:
    """Return the line of a model."""
    status, metadata, limits = seen.status, seen.metadata, seen.limits
    serving, revision = status.serving, seen.serving
    served = revision.served if revision else None
    message = _degraded(seen).message or _message(seen)
    return Row(
        namespace=metadata["namespace"],
        name=metadata["name"],
        version=metadata["resourceVersion"],
        created=metadata.get("creationTimestamp") or "",
        health=seen.health,
        phase="Deleting" if metadata.get("deletionTimestamp") else status.phase or "Pending",
        reason=_degraded(seen).reason or status.reason or "",
        message=message if len(message) <= _WORDS else f"{message[: _WORDS - 1]}…",
        available=seen.true("Available"),
        runtime=(serving and serving.runtime) or "",
        provider=(serving and serving.provider) or "",
        variant=(serving and serving.variant) or "",
        replicas=serving.ready if serving else "",
        p99=served.p99_milliseconds if served else None,
        p99_limit=limits.p99_milliseconds,
        throughput=served.throughput_per_second if served else None,
        throughput_limit=limits.throughput_per_second,
        unit=seen.unit,
    )


@dataclass(frozen=True, slots=True)
class _Why:
    reason: str = ""
    message: str = ""


def _degraded(seen: Seen) -> _Why:
    """The words of a model that is Ready and slower than proven: the status itself has those of Ready."""
    found = seen.condition("Degraded") if seen.health is Health.DEGRADED else None
    return _Why(found.reason, found.message) if found else _Why()


def _message(seen: Seen) -> str:
    if not seen.observed and not seen.status.message:
        return "the operator has not looked at this spec yet"
    return seen.status.message or ""
