"""A model as the page reads it: the status by the API's own models, and the few fields of the spec that are compared with it.

A status of a newer release is read as far as it is known, so that the page never is what keeps a cluster from an upgrade.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from onnxmodel_operator.api.status import Condition, OnnxModelStatus, RevisionStatus

_UNREADABLE = "the page cannot read this status: it and the CRD are of different releases"


class Health(StrEnum):
    """The state of a model in one word. All but Suspended are types of conditions."""

    STALLED = "Stalled"
    DEGRADED = "Degraded"
    RECONCILING = "Reconciling"
    SUSPENDED = "Suspended"
    READY = "Ready"


@dataclass(frozen=True, slots=True)
class Limits:
    """The constraints of a spec. None where there is none."""

    p99_milliseconds: float | None = None
    throughput_per_second: float | None = None
    max_regression_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """One model. observed: the operator has looked at this generation of the spec."""

    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]
    status: OnnxModelStatus

    @property
    def observed(self) -> bool:
        """True if the status is about this generation of the spec."""
        return self.status.observed_generation == self.metadata.get("generation")

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of a type."""
        return next((item for item in self.status.conditions or () if item.type == kind), None)

    def true(self, kind: str) -> bool:
        """Return whether a condition is there and True."""
        return (self.condition(kind) or _ABSENT).status == "True"

    @property
    def health(self) -> Health:
        """The state in one word."""
        if self.spec.get("suspend") is True:
            return Health.SUSPENDED
        if self.metadata.get("deletionTimestamp") or not self.observed:
            return Health.RECONCILING
        if self.true("Stalled"):
            return Health.STALLED
        if self.true("Ready"):
            return Health.DEGRADED if self.true("Degraded") else Health.READY
        return Health.SUSPENDED if self._serving().get("replicas") == 0 else Health.RECONCILING

    @property
    def limits(self) -> Limits:
        """The constraints of the spec."""
        given = (self.spec.get("benchmark") or {}).get("constraints") or {}
        return Limits(given.get("p99Milliseconds"), given.get("throughputPerSecond"), given.get("maxRegressionPercent"))

    @property
    def serving(self) -> RevisionStatus | None:
        """The revision that the Service selects, with its figures."""
        selected = self.status.serving and self.status.serving.revision
        known = (self.status.active, self.status.target, *(self.status.history or ()))
        return next((item for item in known if item and item.revision == selected), None)

    @property
    def unit(self) -> str:
        """The unit that throughput counts."""
        return "inferences" if self.status.model and self.status.model.batch == "None" else "rows"

    def _serving(self) -> Mapping[str, Any]:
        return self.spec.get("serving") or {}


_ABSENT = Condition(type="", status="Unknown", reason="Absent", last_transition_time="", observed_generation=0)


def see(body: Mapping[str, Any], unread: frozenset[str] = frozenset()) -> Seen:
    """Read a model as the API server returned it. unread: blocks of status that need not be read."""
    stored = body.get("status") or {}
    try:
        given = {name: block for name, block in stored.items() if name not in unread}
        status = OnnxModelStatus.model_validate(given, extra="ignore")
    except ValidationError:
        status = OnnxModelStatus(message=_UNREADABLE)
    return Seen(body["metadata"], body.get("spec") or {}, status)
