"""Values of a decision. All are frozen: a decision is computed, never edited."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from onnxmodel_operator import names
from onnxmodel_operator.api.resource import OnnxModel
from onnxmodel_operator.api.spec.source import SecretKeyReference
from onnxmodel_operator.api.status import HandledStatus, ImagesStatus, RefusedStatus, UpgradeStatus
from onnxmodel_operator.live.query import Question
from onnxmodel_operator.live.speed import Proven
from onnxmodel_operator.observe import JobSeen, Observed
from onnxmodel_operator.platform.resolve import Placement, Resolved
from onnxmodel_operator.platform.settings import Settings
from onnxmodel_operator.selection import Choice
from onnxmodel_runtime.contract.compare import CompareOrder
from onnxmodel_runtime.contract.fetch import FetchRequest
from onnxmodel_runtime.contract.outcome import Failure, Outcome
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.contract.stages import STAGES, Request, Stage

R = TypeVar("R")

STARTUP_SECONDS = 600  # how long a pod may load a model of which nothing else is known

RECREATE = "Recreate"  # the strategy with which the active revision is scaled to 0 first

Child = tuple[str, str]
"""The kind and the name of an object that the model owns."""
Traffic = tuple[tuple[str, int], ...]
"""Revisions that take traffic, each with its share in percent. Empty: nothing takes traffic."""


class Phase(StrEnum):
    """Values of status.phase besides the phases of the stages (contract.stages)."""

    PENDING = "Pending"
    DEPLOYING = "Deploying"
    ROLLING_OUT = "RollingOut"
    READY = "Ready"
    SUSPENDED = "Suspended"
    SCALED_TO_ZERO = "ScaledToZero"
    OFF = "TurnedOff"
    FAILED = "Failed"


class State(StrEnum):
    """State of a model. Only Reconciling changes by waiting. SCALED_TO_ZERO: by an autoscaler. OFF: by a person."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SUSPENDED = "Suspended"
    SCALED_TO_ZERO = "ScaledToZero"
    OFF = "TurnedOff"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A current failure, shown as status.lastFailure.

    commands: how to look into it in a cluster, each without a final period. Status shows them after the failure's hint.
    """

    stage: str
    failure: Failure
    exit_code: int | None = None
    job: str | None = None
    attempts: int | None = None
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of the model, for status. People read phase, reason and message."""

    state: State
    phase: str
    reason: str
    message: str
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """The question of a stage to its Job.

    fetch: the files to fetch first. depends_on: the digest of the revision that the Job asks, if any. placement: where
    the Job runs instead of where clients do; a stage that the table runs as the server has none of its own. covers: the
    placement that the digest covers where that is not the Job's. public_key: the Secret's key that the Job reads a
    public key from. order: to run again, if any was given.
    """

    request: Request
    fetch: FetchRequest | None = None
    depends_on: str = ""
    placement: Placement | None = None
    covers: Placement | None = None
    public_key: SecretKeyReference | None = None
    order: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One stage and the known part of its history. record: the encoded outcome of a success.

    quiet: no other stage may run on its node while it measures; otherwise only no other measurement. public_key: as in
    Ask.
    """

    stage: Stage
    digest: str
    job: str
    request: Request
    placement: Placement
    _: KW_ONLY
    fetch: FetchRequest | None = None
    outcome: Outcome | None = None
    record: str | None = None
    seen: JobSeen | None = None
    quiet: bool = True
    public_key: SecretKeyReference | None = None

    @property
    def state(self) -> str:
        """Succeeded, Failed or Running (also a Job that does not exist yet)."""
        if self.outcome:
            return "Succeeded"
        return "Failed" if failed(self.seen) else self.seen.state if self.seen else "Running"

    @property
    def directory(self) -> str | None:
        """The folder of the volume that the stage writes to; None where it writes nothing."""
        request: Any = self.request
        return str(request.directory) if STAGES[self.stage].writes else None


def failed(seen: JobSeen | None) -> bool:
    """Return whether a Job failed for good. The Job's own condition follows a little later than its pod's end."""
    return seen is not None and (seen.state == "Failed" or bool(seen.ended and seen.ended.terminal))


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision to serve: one variant with one serving configuration, replicas aside. name: of the Deployment.

    place: the identity of the place of its artifacts. startup_seconds: how long a pod may load the model. triton: the
    image of Triton where that serves, else "". recorded: the Deployment as it was applied before, replicas aside, which
    is applied again as it is. images: digests of images that a server can mount, by what they hold. pod_settings: what
    its record names (digests.of_pod_settings); "" for one of a release that named nothing, which stays as it is.
    """

    digest: str
    name: str
    request: ServeRequest
    placement: Placement
    replicas: int
    place: str
    startup_seconds: int = STARTUP_SECONDS
    triton: str = ""
    recorded: Mapping[str, Any] | None = None
    images: Mapping[str, str] = field(default_factory=dict)
    pod_settings: str = ""

    @property
    def short(self) -> str:
        """The digest as labels carry it."""
        return names.short(self.digest)


@dataclass(frozen=True, slots=True)
class Kept:
    """A revision that serves while another one is proven. record: its Deployment as it was applied, replicas aside."""

    record: Mapping[str, Any]
    replicas: int


@dataclass(frozen=True, slots=True)
class Shift:
    """A rollout beside the active revision, for status.

    step: the index of the current one; as many as there are once all are done. weight: percent of the traffic that the
    new revision was given; since: when, or when the active one made room. gate: the last judgement in words, which may be of
    a minute ago: each write costs. ruling: of now.
    """

    strategy: str
    why: str
    steps: int = 0
    backend: str = ""
    step: int = 0
    weight: int = 0
    since: datetime | None = None
    gate: str = ""
    ruling: str = ""

    @property
    def makes_room(self) -> bool:
        """True if the active revision has no replicas meanwhile."""
        return self.strategy == RECREATE


@dataclass(frozen=True, slots=True)
class Pace:
    """The speed of a revision in live traffic, compared with its proof. slow: slower by the factor, for several minutes.

    sentence: why, with both numbers; only where it has just become slow.
    """

    proven: Proven
    factor: float
    slow: bool = False
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The servers of a revision shall compare their answers as ordered."""

    revision: str
    order: CompareOrder


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """The routes of a model, whose names and hostnames never change.

    backends: Services, each with its weight. Empty: nothing takes traffic yet, and no route is made. rules: of the routes as
    they are, by kind, with what other hands added. problem: why a parent does not accept a route. pending: a parent has not
    decided. again: seconds after which that is a problem.
    """

    backends: tuple[tuple[str, int], ...] = ()
    kinds: tuple[str, ...] = ()
    rules: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    problem: str = ""
    pending: str = ""
    again: float | None = None


@dataclass(frozen=True, slots=True)
class Scaling:
    """The autoscaler of a model that serves. kind: of its object. revisions: whose load counts.

    target: as much load as each replica shall have; rows: it is rows per second, and not pending requests. missing: the
    cluster lacks the kind.
    """

    kind: str
    least: int
    most: int
    seconds: int
    revisions: tuple[str, ...]
    target: float
    rows: bool = True
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision.

    steps: the stages so far. job: the stage whose Job must exist. revision: what the spec asks to serve, whose Deployment
    must exist. traffic: who takes traffic. active: the revision that was proven last. kept: what serves and is not
    `revision`: it gets the replicas of the newest spec, and comes back if somebody deletes it. claim: the model needs a
    volume.
    doubts: Jobs of which the API server must be asked first: the cache may only be late. prune: children that nothing needs.
    shift: the rollout beside the active revision. refused: revisions that take no traffic; None: as before. handled:
    orders that need not be followed again; None: as before. images: of the plan. upgrade: newer ones of the platform.
    keep: folders of the model's volume that something needs. requeue_seconds: look again then, though nothing changed.
    pace: of the revision that the Service selects; None where nothing was proven of it. comparison: of live answers.
    question: to Prometheus. routes: None where the platform has none. scaling: the autoscaler that must exist.
    """

    progress: Progress
    steps: tuple[Step, ...] = ()
    job: Step | None = None
    choice: Choice | None = None
    revision: Revision | None = None
    traffic: Traffic = ()
    active: str | None = None
    kept: Kept | None = None
    shift: Shift | None = None
    refused: tuple[RefusedStatus, ...] | None = None
    handled: HandledStatus | None = None
    upgrade: UpgradeStatus | None = None
    images: ImagesStatus | None = None
    claim: bool = False
    doubts: frozenset[str] = frozenset()
    prune: tuple[Child, ...] = ()
    keep: tuple[str, ...] = ()
    requeue_seconds: float | None = None
    pace: Pace | None = None
    comparison: Comparison | None = None
    routes: RoutePlan | None = None
    scaling: Scaling | None = None
    question: Question | None = None

    @property
    def route(self) -> str | None:
        """The revision that the model's Service selects."""
        return self.traffic[0][0] if self.traffic else None

    def result(self, kind: type[R]) -> R | None:
        """Return the result of this kind. None if its stage has not succeeded."""
        return _result(self.steps, kind)


@dataclass(frozen=True, slots=True)
class Context:
    """Input of a look: the inputs of the decision, and the findings of earlier looks.

    active: the revision that was proven last, if it is there. traffic: who takes traffic unless a later look says
    otherwise. choice and revision: of the newest spec, once they are known. shift, refused and handled: as in Plan.
    """

    model: OnnxModel
    seen: Observed
    settings: Settings
    platform: Resolved
    now: datetime
    active: str | None = None
    traffic: Traffic = ()
    steps: tuple[Step, ...] = ()
    choice: Choice | None = None
    revision: Revision | None = None
    shift: Shift | None = None
    refused: tuple[RefusedStatus, ...] | None = None
    handled: HandledStatus | None = None

    def step(self, stage: Stage) -> Step:
        """Return the step of a stage that an earlier look was about."""
        return next(step for step in self.steps if step.stage is stage)

    def result(self, kind: type[R]) -> R:
        """Return the result of this kind, for looks that come after its stage."""
        result = _result(self.steps, kind)
        assert result is not None, f"no stage before this one left a {kind.__name__}"
        return result

    @property
    def place(self) -> str | None:
        """The identity of the place of the artifacts, which digests cover. None while there is no volume."""
        model, artifacts = self.model, self.settings.artifacts
        if bucket := artifacts.bucket(model.namespace, model.name, model.uid):
            return names.bucket_place(bucket.endpoint, bucket.bucket, bucket.prefix)
        if registry := artifacts.registry(model.namespace, model.name, model.uid):
            return names.registry_place(registry.repository, registry.uid)
        return self.seen.claim_uid

    @property
    def chosen(self) -> Choice:
        """The choice, for looks that come after it."""
        assert self.choice is not None
        return self.choice

    @property
    def target(self) -> Revision:
        """The revision, for looks that come after it."""
        assert self.revision is not None
        return self.revision


def _result(steps: tuple[Step, ...], kind: type[R]) -> R | None:
    """The result of this kind among those of the steps. No two stages have results of one kind."""
    return next((s.outcome.result for s in steps if s.outcome and isinstance(s.outcome.result, kind)), None)


@dataclass(frozen=True, slots=True)
class Advance:
    """Nothing keeps the model from advancing. context: with the findings so far."""

    context: Context


@dataclass(frozen=True, slots=True)
class Stop:
    """The model gets no further for now, and why. The other fields are those of the Plan.

    job: the stage whose Job must exist. superfluous: children to delete. again: seconds after which to look again.
    """

    context: Context
    progress: Progress
    job: Step | None = None
    doubts: frozenset[str] = frozenset()
    superfluous: tuple[Child, ...] = ()
    again: float | None = None


Look = Callable[[Context], Advance | Stop]
"""One thing that must be true before a revision takes traffic."""


def going(phase: str, reason: str, message: str) -> Progress:
    """Report progress that needs no action."""
    return Progress(State.RECONCILING, phase, reason, message)


def stalled(trouble: Trouble) -> Progress:
    """Report progress that needs an action of somebody."""
    return Progress(State.STALLED, Phase.FAILED, trouble.failure.reason, trouble.failure.message, trouble)
