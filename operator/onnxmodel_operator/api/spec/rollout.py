"""Define spec.rollout: the way in which a new revision takes over from the one that serves."""

import re
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from onnxmodel_operator.api import placeholders
from onnxmodel_operator.api.base import ApiObject, cel
from onnxmodel_operator.api.patterns import PAUSE

MANUAL = "Manual"
_UNITS = {"h": 3600, "m": 60, "s": 1}
Pause = Annotated[str, StringConstraints(min_length=1, max_length=16, pattern=PAUSE)]


class RolloutStep(ApiObject):
    """One step of a canary."""

    weight: Annotated[int, Field(ge=1, le=99)] = Field(description="Percent of the traffic for the new revision.")
    pause: Pause = Field(
        default="1m",
        description="Minimum duration of the step, for example 90s, 5m or 1h. Manual: until it is promoted "
        "by the annotation onnx-operator.dev/promote.",
    )

    def seconds(self) -> int | None:
        """Return how long the step takes at least. None: until somebody promotes it."""
        if self.pause == MANUAL:
            return None
        return sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"([0-9]+)([hms])", self.pause))


PLACEHOLDERS = ("namespace", "model", "revision", "stable", "window")
PLACEHOLDER = rf"\$({'|'.join(PLACEHOLDERS)})\b"
_LIMIT_RULE = "has(self.max) || has(self.min)"
_LIMIT_MESSAGE = "a query needs a max or a min for its number"
_ORDER_RULE = "!has(self.max) || !has(self.min) || self.min <= self.max"
_ORDER_MESSAGE = "min must not exceed max: no number would be within them"


class PrometheusGate(ApiObject):
    """A number of the platform's Prometheus that the new revision must keep within limits."""

    model_config = ConfigDict(
        json_schema_extra=cel((_LIMIT_RULE, _LIMIT_MESSAGE, ".max"), (_ORDER_RULE, _ORDER_MESSAGE, ".max"))
    )
    query: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(
        description="PromQL that gives one number. $namespace, $model, $revision (the new one), $stable (the one that "
        "serves) and $window (the time that the step has lasted, such as 90s) are replaced."
    )
    max: float | None = Field(default=None, description="A larger number ends the rollout.")
    min: float | None = Field(default=None, description="A smaller number ends the rollout.")

    @model_validator(mode="after")
    def _has_a_limit(self) -> "PrometheusGate":
        if self.max is None and self.min is None:
            raise ValueError(_LIMIT_MESSAGE)
        if self.max is not None and self.min is not None and self.min > self.max:
            raise ValueError(_ORDER_MESSAGE)
        return self

    @field_validator("query")
    @classmethod
    def _knows_its_placeholders(cls, query: str) -> str:
        return placeholders.check(query, PLACEHOLDERS)


class AnswerComparison(ApiObject):
    """Answers of the revision that serves that the new one is asked for too, after they were sent."""

    percent: Annotated[float, Field(gt=0, le=100)] = Field(
        default=10.0,
        description="Share of the requests, at most: the servers compare as many as cost them a hundredth of their time.",
    )
    min_agreement_percent: Annotated[float, Field(ge=0, le=100)] = Field(
        default=99.0, description="Share of the compared answers that must be equal within optimization.parity."
    )
    min_comparisons: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=100, description="Answers that must have been compared in a step."
    )


class RolloutGates(ApiObject):
    """Limits to what the new revision may do worse than the one that serves, in the same span of time."""

    mode: Literal["Enforce", "Warn"] = Field(
        default="Enforce",
        description="Enforce: a failed gate ends the rollout, and one without enough requests pauses it. Warn: the "
        "status reports it, and the rollout goes on.",
    )
    max_error_percent: Annotated[float, Field(ge=0, le=100)] = Field(
        default=1.0, description="Additional failed requests, in percentage points. Client errors do not count."
    )
    max_p99_regression_percent: Annotated[float, Field(ge=0, le=10_000)] = Field(
        default=50.0, description="Increase of the p99 latency inside the servers; of the mean with Triton."
    )
    min_requests: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=500, description="Requests that the new revision must have had in a step."
    )
    prometheus: PrometheusGate | None = Field(
        default=None,
        description="A gate of your own, judged once the others pass. While Prometheus gives no number, the rollout pauses.",
    )
    compare: AnswerComparison | None = Field(
        default=None,
        description="Compare answers of both revisions to the same live requests. For new revisions that should answer "
        "as the old one does: not for a model that was trained again. Without it, none are compared. Not with Triton.",
    )


_ASCENDING = (
    "!has(self.steps) || (self.steps.map(step, step.weight).isSorted() "
    "&& self.steps.all(a, self.steps.exists_one(b, a.weight == b.weight)))"
)
_ASCENDING_MESSAGE = "steps must have different weights, in ascending order"
_STEPS = (RolloutStep(weight=5, pause="2m"), RolloutStep(weight=25, pause="5m"), RolloutStep(weight=50, pause="5m"))


class Rollout(ApiObject):
    """The way in which a new revision takes over. The first revision of a model takes all traffic once it is proven."""

    model_config = ConfigDict(json_schema_extra=cel((_ASCENDING, _ASCENDING_MESSAGE, ".steps")))
    strategy: Literal["Auto", "Surge", "Recreate", "Canary"] = Field(
        default="Auto",
        description="Surge: the new revision runs beside the old one and takes all traffic after its load test. "
        "Recreate: the old one is scaled to 0 first, and restored if the new one fails: nothing serves meanwhile. "
        "Canary: the new one takes a growing share of the traffic first. Auto: Surge, or Recreate where pods of the new "
        "revision find no room until the progress deadline and fit in the place of the old ones.",
    )
    steps: Annotated[list[RolloutStep], Field(min_length=1, max_length=20)] = Field(
        default=list(_STEPS), description="Steps of a canary. After the last one the new revision takes all traffic."
    )
    gates: RolloutGates = RolloutGates()
    rollback_window: Annotated[int, Field(ge=0, le=5)] = Field(
        default=3,
        description="Going back to one of so many revisions that served last skips the steps of a canary.",
    )

    @model_validator(mode="after")
    def _weights_ascend(self) -> "Rollout":
        weights = [step.weight for step in self.steps]
        if any(later <= earlier for earlier, later in pairwise(weights)):
            raise ValueError(_ASCENDING_MESSAGE)
        return self
