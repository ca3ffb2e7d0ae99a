"""The stored status of a model as typed values: the results of earlier turns.

A status may have been edited, or written by another release. Unreadable parts count as absent: a stage runs again, a
figure is missing. Reading never fails.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from onnxmodel_operator.api.status import (
    Condition,
    FailureStatus,
    FindingStatus,
    OnnxModelStatus,
    RefusedStatus,
    RevisionStatus,
    RolloutStatus,
    StageStatus,
    UpgradeStatus,
)
from onnxmodel_operator.memo import Named
from onnxmodel_runtime.contract.codec import ContractError
from onnxmodel_runtime.contract.outcome import decode

_FAILED = "Failed"
_SUCCEEDED = "Succeeded"


@dataclass(frozen=True, slots=True)
class Memory:
    """The readable parts of a status. Shared between turns: do not modify it.

    generation: of the spec that it is about. failure: the last one. successes: the stages that need not run again.
    stored: all of it, for what is passed on unchanged.
    """

    stored: OnnxModelStatus = field(default_factory=OnnxModelStatus)
    generation: int | None = None
    failed: bool = False
    conditions: tuple[Condition, ...] = ()
    findings: tuple[FindingStatus, ...] = ()
    active: RevisionStatus | None = None
    target: RevisionStatus | None = None
    history: tuple[RevisionStatus, ...] = ()
    failure: FailureStatus | None = None
    rollout: RolloutStatus = field(default_factory=RolloutStatus)
    upgrade: UpgradeStatus | None = None
    stages: tuple[StageStatus, ...] = ()
    successes: tuple[StageStatus, ...] = ()

    @property
    def proven(self) -> bool:
        """True if a revision has ever been active."""
        return self.active is not None or bool(self.history)

    @property
    def decisive(self) -> tuple[Any, ...]:
        """The parts that affect later turns. A change of any other part has no consequences.

        The generation is among them only with a failure: it tells whether the failure is of this spec.
        """
        generation = self.generation if self.failure else None
        of_revisions = (self.active, self.target, self.history, self.rollout, self.upgrade, self.stored.autoscaling)
        return (self.successes, of_revisions, self.failure, generation, self.failed)

    def success(self, stage: str, digest: str) -> str | None:
        """Return the encoded outcome of a stage that succeeded. None if there is none that can be decoded."""
        for item in self.successes:
            if item.result and (item.name, item.digest) == (stage, digest):
                try:
                    if decode(item.result).result:
                        return item.result
                except ContractError:
                    continue
        return None

    def failure_of(self, job: str) -> FailureStatus | None:
        """Return why a Job failed, as long as status records it."""
        return self.failure if self.failure and self.failure.job == job else None

    def refused(self, revision: str) -> RefusedStatus | None:
        """Return why a revision takes no traffic, as long as that holds."""
        return next((refused for refused in self.rollout.refused or () if refused.revision == revision), None)

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of this type."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    def revision(self, revision: str) -> RevisionStatus | None:
        """Return the record of a revision from any block of status. None if status has none."""
        blocks = (self.active, self.target, *self.history)
        return next((block for block in blocks if block and block.revision == revision), None)


def read(status: Mapping[str, Any], whose: str = "") -> Memory:
    """Read a status as the API server returns it, or as it is about to be written. whose: the uid of its model."""
    return _read(Named(whose, status))


@lru_cache(maxsize=64)
def _read(of: Named[Mapping[str, Any]]) -> Memory:
    """Remembered for the next look of the same turn, and the next turns of a small fleet: each takes some 32 KiB."""
    stored = _readable(of.parts)
    stages = tuple(stored.stages or ())
    return Memory(
        stored=stored,
        generation=stored.observed_generation,
        failed=stored.phase == _FAILED,
        conditions=tuple(stored.conditions or ()),
        findings=tuple(stored.findings or ()),
        active=stored.active,
        target=stored.target,
        history=tuple(stored.history or ()),
        failure=stored.last_failure,
        rollout=stored.rollout or RolloutStatus(),
        upgrade=stored.upgrade,
        stages=stages,
        successes=tuple(stage for stage in stages if stage.state == _SUCCEEDED),
    )


def _readable(data: Any) -> OnnxModelStatus:
    """A status without the parts of it that cannot be read."""
    while True:
        try:
            return OnnxModelStatus.model_validate(data)
        except ValidationError as error:
            places = [_place(data, item["loc"]) for item in error.errors(include_url=False, include_input=False)]
            if () in places:
                return OnnxModelStatus()
            data = _without(data, places)


def _place(data: Any, path: Sequence[int | str]) -> tuple[int | str, ...]:
    """The part that an error is about. An object is unreadable where a field of it is missing."""
    for depth, key in enumerate(path):
        there = isinstance(data, Mapping) and key in data
        if not there and not (isinstance(data, list) and isinstance(key, int) and key < len(data)):
            return tuple(path[:depth])
        data = data[key]
    return tuple(path)


def _without(data: Any, places: Sequence[tuple[int | str, ...]]) -> Any:
    """A copy of plain data without what is at these places, none of which is the whole."""
    if not places:
        return data

    def below(key: int | str) -> list[tuple[int | str, ...]]:
        return [place[1:] for place in places if place[0] == key]

    if isinstance(data, Mapping):
        return {key: _without(value, below(key)) for key, value in data.items() if () not in below(key)}
    return [_without(value, below(key)) for key, value in enumerate(data) if () not in below(key)]
