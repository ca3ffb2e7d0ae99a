"""Define the observation of one model: the raw snapshot, and the facts that are read from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from onnxmodel_operator.live.query import QueryResult, Question
from onnxmodel_operator.live.windows import Live
from onnxmodel_operator.observe.memory import Memory
from onnxmodel_operator.observe.objects import Object
from onnxmodel_runtime.contract.outcome import Failure, Outcome
from onnxmodel_runtime.contract.stages import FETCH, STAGES
from onnxmodel_runtime.contract.validate import Finding

MEASURING = tuple(stage for stage, spec in STAGES.items() if spec.measures)
WORKING = tuple(stage for stage, spec in STAGES.items() if spec.works)
"""Stages that use a node's cores for longer than a moment."""
SETTINGS = "under settings in the chart's values"
"""Place of a setting of the platform, as hints name it."""
AS_SERVER = tuple(spec.name for spec in STAGES.values() if spec.as_server)
"""Commands whose Jobs have the server's resources, for hints."""
AS_JOBS = (FETCH, *(spec.name for spec in STAGES.values() if not spec.as_server))
"""Commands whose Jobs have the resources of settings.jobs, for hints."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The raw objects of one model, from the cache. model: None if there is none.

    busy: pods of stages that have a node, of all models. metrics: what the pods of its revisions reported themselves.
    answered: the last answer of Prometheus, and to what.
    upgrading: other models that move to newer images. missing: kinds of add-ons that the cluster does not have.
    """

    model: Object | None
    jobs: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    deployments: tuple[Object, ...] = ()
    services: tuple[Object, ...] = ()
    claims: tuple[Object, ...] = ()
    busy: tuple[Object, ...] = ()
    records: tuple[Object, ...] = ()
    budgets: tuple[Object, ...] = ()
    routes: tuple[Object, ...] = ()
    scaled_objects: tuple[Object, ...] = ()
    autoscalers: tuple[Object, ...] = ()
    upgrading: tuple[str, ...] = ()
    missing: frozenset[str] = frozenset()
    metrics: Live = field(default_factory=Live)
    answered: tuple[Question, QueryResult] | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The reason why a pod does not start: no node, no image, no Secret. since: its beginning, if the pod has it.

    normal_seconds: how long it may take before it counts as a problem. queued: it waits for its turn, without a
    deadline. about: the uid of the object whose warning events explain it. silent: without such an event it is no
    problem. no_room: the nodes lack free resources or devices, which another pod that ends would give back.
    """

    failure: Failure
    since: datetime | None
    normal_seconds: float = 0
    queued: bool = False
    about: str = ""
    silent: bool = False
    no_room: bool = False


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning event. time: when it was last seen."""

    reason: str
    message: str
    time: datetime | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a container.

    terminal: another run would end the same way. findings: the reasons of a rejected model.
    """

    failure: Failure
    exit_code: int | None
    time: str
    terminal: bool
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class JobSeen:
    """One Job of a stage. outcome: of a success. ended: how the last failed attempt ended. attempts: that failed.

    kept_alive_by: an injected container that keeps running after the stage has ended, so that the Job cannot end; "" if
    there is none.
    """

    name: str
    stage: str
    digest: str
    state: str
    start_time: str | None
    completion_time: str | None
    outcome: Outcome | None
    message: str | None
    ended: Ended | None
    attempts: int
    waiting: Waiting | None
    pods: int
    quiet: bool = False
    """A measurement that no stage at all may run beside."""
    kept_alive_by: str = ""


@dataclass(frozen=True, slots=True)
class RevisionSeen:
    """One Deployment. complete: every wanted replica runs exactly this template and is available."""

    name: str
    revision: str
    wanted: int
    ready: int
    available: int
    complete: bool
    overdue: bool
    ended: Ended | None
    waiting: Waiting | None
    runtime: str = "onnxruntime"
    unavailable_since: datetime | None = None
    """The time from which too few of its pods have been available, as the Deployment's condition says."""
    available_since: datetime | None = None
    """The time from which enough of its pods have been available, as the same condition says. None while they are not."""


@dataclass(frozen=True, slots=True)
class RouteSeen:
    """One route of a model. canary: the revision that has a share of its traffic besides the model's Service, or "".

    verdicts: of the parents that have answered, by (namespace, name, section): "" from one that accepts the route, or why it
    does not; None from one that has not decided.
    """

    kind: str
    canary: str
    verdicts: Mapping[tuple[str, str, str], str | None]
    made: datetime | None
    written: datetime | None = None
    """The time at which the operator last changed it."""


@dataclass(frozen=True, slots=True)
class ScalerSeen:
    """The autoscaler of a model, as its own conditions say. trouble: (reason, message) of what keeps it from scaling.

    told: it has reported whether it scales.
    """

    kind: str
    name: str
    told: bool = False
    trouble: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """All input of a decision besides the spec, the settings and the clock."""

    claim_uid: str | None
    claim_leaves: bool
    """The volume is being deleted, and waits for pods that use it."""
    jobs: Mapping[tuple[str, str], JobSeen]
    revisions: Mapping[str, RevisionSeen]
    routed: str | None
    """The revision that the Service selects; of two, the proven one."""
    live: Mapping[tuple[str, str], Object]
    """Children as they are, by (kind, name)."""
    upgrading: tuple[str, ...] = ()
    """Other models that move to newer images now, as namespace/name."""
    divided: bool = False
    """Two revisions share the traffic: the Service selects the pods of both, or the routes lead to both."""
    routes: Mapping[str, RouteSeen] = field(default_factory=dict)
    """The model's routes, by kind."""
    stuck: bool = False
    """True if a stage's pod of any model has a node and cannot start there, or failed and a sidecar keeps it alive.

    It may stay so for an unknown time.
    """
    memory: Memory = field(default_factory=Memory)
    """The model's own status."""
    records: Mapping[str, Object] = field(default_factory=dict)
    """The Deployment of each revision as it was applied, replicas aside, from its ControllerRevision.

    Not of a volume that is gone."""
    metrics: Live = field(default_factory=Live)
    answered: tuple[Question, QueryResult] | None = None
    """Live traffic of each revision, as its servers count it."""
    missing: frozenset[str] = frozenset()
    """Kinds of add-ons that the cluster does not have."""
    scaler: ScalerSeen | None = None
    """The autoscaler that the operator made for the model."""
    made_with: Mapping[str, str] = field(default_factory=dict)
    """The digest of the settings that the pods of each record were made with, where the record names it."""
