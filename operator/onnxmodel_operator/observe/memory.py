"""The stored status of a model as typed values: what the operator remembers from its earlier turns.

Somebody may have edited a status, or another release may have written it. What cannot be read counts as not there: a
stage runs again, a figure is missing. Reading never fails.
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
    RevisionStatus,
    StageStatus,
)
from onnxmodel_operator.memo import Named
from onnxmodel_runtime.contract.codec import ContractError
from onnxmodel_runtime.contract.outcome import decode

_FAILED = "Failed"
_SUCCEEDED = "Succeeded"


@dataclass(frozen=True, slots=True)
class Memory:
    """A status, as far as it can be read. Nobody may change it: it is shared between turns.

    generation: of the spec that it is about. failure: the last one. successes: the stages that need not run again.
    stored: all of it, for what is passed on as it is.
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
    stages: tuple[StageStatus, ...] = ()
    successes: tuple[StageStatus, ...] = ()

    @property
    def proven(self) -> bool:
        """Whether a revision has ever been active."""
        return self.active is not None or bool(self.history)

    @property
    def decisive(self) -> tuple[Any, ...]:
        """The parts that later turns decide by or pass on. Where only other parts change, nothing follows from that.

        The generation counts with a failure alone: it says whether the failure is of this spec.
        """
        generation = self.generation if self.failure else None
        return (self.successes, self.active, self.target, self.history, self.failure, generation, self.failed)

    def success(self, stage: str, digest: str) -> str | None:
        """The encoded outcome of a stage that succeeded. One that can no longer be decoded does not count."""
        for item in self.successes:
            if item.result and (item.name, item.digest) == (stage, digest):
                try:
                    if decode(item.result).result:
                        return item.result
                except ContractError:
                    continue
        return None

    def failure_of(self, job: str) -> FailureStatus | None:
        """Why a Job failed, while status tells."""
        return self.failure if self.failure and self.failure.job == job else None

    def condition(self, kind: str) -> Condition | None:
        """The condition of this type."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    def revision(self, revision: str) -> RevisionStatus | None:
        """What is known of a revision, whichever block of status has it."""
        blocks = (self.active, self.target, *self.history)
        return next((block for block in blocks if block and block.revision == revision), None)


def read(status: Mapping[str, Any], whose: str = "") -> Memory:
    """A status as the API server gives it, or as it is about to be written. whose: the uid of its model."""
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
