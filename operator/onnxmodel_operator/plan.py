"""What should be, decided from what is: the model, what was observed, the settings and the clock in, a Plan out.

The road is a chain of small steps. Each looks at one thing and either says nothing (then the next one looks) or says why
the road ends here for now. `plan` reads as that list.
"""

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypeVar

from onnxmodel_operator import names, quantity, results, selection
from onnxmodel_operator.api.resource import OnnxModel, Resource, SpecError
from onnxmodel_operator.api.spec.optimization import VARIANTS
from onnxmodel_operator.api.spec.optimization import Calibration as AskedCalibration
from onnxmodel_operator.api.spec.source import Signature
from onnxmodel_operator.api.status import AgainstStatus, RevisionStatus
from onnxmodel_operator.memo import Named
from onnxmodel_operator.observe import JobSeen, Observed, RevisionSeen, Waiting
from onnxmodel_operator.observe.memory import Memory
from onnxmodel_operator.platform import policy
from onnxmodel_operator.platform.resolve import Placement, Resolved, resolve
from onnxmodel_operator.platform.settings import Settings, Sources
from onnxmodel_operator.times import parse_time
from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, BenchmarkResult, Candidate
from onnxmodel_runtime.contract.fetch import FetchRequest, SourcePolicy
from onnxmodel_runtime.contract.identity import identity_of
from onnxmodel_runtime.contract.loadtest import LoadTestRequest, LoadTestResult
from onnxmodel_runtime.contract.model import Tensor, Tolerance
from onnxmodel_runtime.contract.optimize import Calibration, OptimizeRequest, OptimizeResult
from onnxmodel_runtime.contract.outcome import Failure, Outcome, decode
from onnxmodel_runtime.contract.probe import ProbeRequest, ProbeResult
from onnxmodel_runtime.contract.providers import GPU_PROVIDERS
from onnxmodel_runtime.contract.serve import MAX_QUEUE_SIZE, ServeRequest
from onnxmodel_runtime.contract.stages import STAGES, Stage
from onnxmodel_runtime.contract.validate import PUBLIC_KEY_VARIABLE, SignatureRule, ValidateRequest, ValidateResult
from onnxmodel_runtime.contract.volume import ARTIFACTS, CALIBRATION_DATA_FOLDER, MODEL_FILE, REPORT_FILE, SOURCE_FOLDER

_QUEUE_SECONDS = 30.0  # after that, status names who is ahead now
_EVENT_SECONDS = 60.0  # no watch tells of events: they are read again
STARTUP_SECONDS = 600  # how long a pod may load a model of which nothing else is known
_ENGINES = "/tmp/engines"  # in the server's own volume: it outlives a container, not its pod


class State(StrEnum):
    """Where a model stands. Only Reconciling changes by waiting."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SUSPENDED = "Suspended"
    SCALED_TO_ZERO = "ScaledToZero"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong right now, shown as status.lastFailure."""

    stage: str
    failure: Failure
    exit_code: int | None = None
    job: str | None = None
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the road goes, for status. phase, reason and message are what people read."""

    state: State
    phase: str
    reason: str
    message: str
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of the chain, as far as it is known. result and record: of a success; record is the encoded outcome.

    quiet: where it measures, nothing else of ours may run on its node; else no other measurement.
    """

    stage: Stage
    digest: str
    job: str
    request: Any
    placement: Placement
    fetch: FetchRequest | None = None
    outcome: Outcome | None = None
    record: str | None = None
    seen: JobSeen | None = None
    quiet: bool = True

    @property
    def state(self) -> str:
        """Succeeded, Failed or Running (which a Job that does not exist yet is too)."""
        if self.outcome:
            return "Succeeded"
        return "Failed" if _failed(self.seen) else self.seen.state if self.seen else "Running"


@dataclass(frozen=True, slots=True)
class Revision:
    """What should serve: one variant with one serving configuration, replicas aside. name: of the Deployment.

    claim: the uid of the volume with its artifacts.
    startup_seconds: how long a pod may load the model. triton: the image of Triton where that serves, else "".
    """

    digest: str
    name: str
    request: ServeRequest
    placement: Placement
    replicas: int
    claim: str
    startup_seconds: int = STARTUP_SECONDS
    triton: str = ""

    @property
    def short(self) -> str:
        """What labels carry."""
        return names.short(self.digest)


@dataclass(frozen=True, slots=True)
class Kept:
    """A revision that serves while another one is proven. record: its Deployment as it was applied, replicas aside."""

    record: Mapping[str, Any]
    replicas: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision. wanted Jobs are steps whose Job must exist. route: the revision that gets the traffic, if any does.

    kept: what serves and is not `revision`: it has the replicas of the newest spec, and comes back when it was deleted.

    doubts: Jobs of which the API server must be asked before any of this holds: something follows from what is not known
    of them, and that may only be late.
    prune: (kind, name) of children that nothing needs. keep: folders of the model's volume that something needs.
    requeue_seconds: look again then, though nothing changed.
    """

    progress: Progress
    steps: tuple[Step, ...] = ()
    job: Step | None = None
    choice: selection.Choice | None = None
    revision: Revision | None = None
    route: str | None = None
    active: str | None = None
    kept: Kept | None = None
    claim: bool = False
    doubts: frozenset[str] = frozenset()
    prune: tuple[tuple[str, str], ...] = ()
    keep: tuple[str, ...] = ()
    requeue_seconds: float | None = None

    def result(self, stage: Stage) -> Any:
        """The result of a stage that succeeded, or None."""
        return next((s.outcome.result for s in self.steps if s.stage is stage and s.outcome), None)


COMMANDS = " Log: "
"""Where the commands begin with which a failed Job's hint ends."""


@dataclass(slots=True)
class _Draft:
    """What the steps share while a plan is made."""

    model: OnnxModel
    seen: Observed
    settings: Settings
    now: datetime
    platform: Resolved
    steps: list[Step] = field(default_factory=list)
    job: Step | None = None
    choice: selection.Choice | None = None
    revision: Revision | None = None
    route: str | None = None
    lost: list[tuple[str, str]] = field(default_factory=list)
    doubts: set[str] = field(default_factory=set)
    requeue_seconds: float | None = None


def plan(model: OnnxModel, seen: Observed, settings: Settings, now: datetime) -> Plan:
    """The decision for one model. Raises nothing: what cannot be done is a Plan whose progress says so."""
    active = active_revision(seen)
    if model.spec.suspend:
        progress = Progress(
            State.SUSPENDED,
            "Suspended",
            "Suspended",
            "spec.suspend is true: no stage and no revision is started; what serves goes on serving, with the "
            "replicas of the spec",
        )
        return Plan(progress, route=route(model, seen, active), active=active, kept=_kept(model, seen, active))
    try:
        draft = _Draft(model, seen, settings, now, resolve(model, settings))
    except SpecError as error:
        return invalid(model, seen, error)
    draft.route = route(model, seen, active)
    progress = next((stop for look in _ROAD if (stop := look(draft))), None) or _ready(draft)
    settled = progress.state is State.READY
    prune = _prune(draft, active)
    return Plan(
        progress=progress,
        steps=tuple(draft.steps),
        job=draft.job,
        choice=draft.choice,
        revision=draft.revision,
        route=draft.route,
        active=draft.revision.short if settled and draft.revision else active,
        kept=None if draft.revision and (settled or draft.revision.short == active) else _kept(model, seen, active),
        claim=True,
        doubts=frozenset(draft.doubts),
        prune=prune,
        keep=_needed(draft),
        requeue_seconds=draft.requeue_seconds,
    )


def invalid(resource: Resource, seen: Observed, error: SpecError) -> Plan:
    """The plan for a spec that cannot be worked on: say why, and touch nothing."""
    path, _ = error.fields[0]
    failure = Failure("InvalidSpec", str(error), f"Correct {path} and apply again.", path)
    if isinstance(error, policy.PolicyError):
        hint = f"Change {path}; the rules are the platform team's (settings.policy in the operator's chart values)."
        failure = Failure("PolicyViolation", str(error), hint, path)
    progress = Progress(State.STALLED, "Failed", failure.reason, str(error), Trouble("spec", failure))
    active = active_revision(seen)
    return Plan(progress, route=route(resource, seen, active), active=active, kept=_kept(resource, seen, active))


def _kept(model: Resource, seen: Observed, active: str | None) -> Kept | None:
    """The active revision with as many replicas as the newest spec wants: to scale what serves, nothing has to be proven."""
    record = seen.records.get(active or "")
    if record is None:
        return None
    serving = seen.revisions.get(active or "")
    replicas = model.replicas if model.replicas is not None else serving.wanted if serving else 1
    return Kept(record, replicas)


# ---- the road --------------------------------------------------------------------------------------------------------


def _claim(draft: _Draft) -> Progress | None:
    if draft.seen.claim_leaves:
        name = draft.model.name
        message = "the model's volume is being deleted, and waits for the pods that use it"
        command = f"kubectl -n {draft.model.namespace} delete deployment -l {names.LABEL_MODEL}={name}"
        hint = f"If the deletion was intended, delete the Deployment too, and everything is made again: {command}"
        return Progress(
            State.STALLED,
            "Failed",
            "VolumeDeleting",
            message,
            Trouble("volume", Failure("VolumeDeleting", message, hint)),
        )
    if draft.seen.claim_uid is None:
        return _going("Pending", "CreatingVolume", "the model's volume is being created")
    return None


def _validate(draft: _Draft) -> Progress | None:
    spec, settings = draft.model.spec, draft.settings
    golden, signature = spec.validation.golden, spec.source.signature
    fetch = _fetch(
        draft,
        SOURCE_FOLDER,
        uri=spec.source.uri,
        sha256=spec.source.sha256 or "",
        files=spec.source.files,
        signature_uri=signature.uri if signature else "",
        golden_uri=golden.uri if golden else "",
    )
    request = ValidateRequest(
        directory=fetch.directory,
        sha256=fetch.sha256,
        files=fetch.files,
        pin_all=policy.pinned(draft.model, settings.policy),
        opset_floor=settings.policy.min_opset if settings.policy.min_opset > 1 else 0,
        signature=_signature_rule(signature) if signature else None,
        golden=Tolerance(**golden.tolerance.model_dump()) if golden else None,
        providers=draft.platform.providers.names,
        domains=settings.policy.operator_domains,
        opset_min=spec.validation.opset.min,
        dynamic_batch=spec.validation.dynamic_batch,
        batch=spec.validation.batch,
        inputs=_tensors(spec.validation.inputs),
        outputs=_tensors(spec.validation.outputs),
        sizes=dict(spec.validation.sizes),
        mode=spec.validation.mode,
        serving_memory=_serving_memory(draft),
        max_batch_size=spec.serving.batching.max_batch_size,
        max_nodes=settings.policy.max_nodes,
        max_depth=settings.policy.max_nesting,
    )
    return _follow(draft, _step(draft, Stage.VALIDATE, request, draft.platform.validator, fetch))


def _serving_memory(draft: _Draft) -> int:
    """Bytes that the server may use; 0 where no limit is set, or where a GPU holds what a run on the CPU would need."""
    if draft.platform.providers.names[0] in GPU_PROVIDERS:
        return 0
    return int(quantity.parse(draft.platform.server.resources.limits.get("memory", "0")))


def _fetch(draft: _Draft, folder: str, **asked: Any) -> FetchRequest:
    """A fetch under the platform's rules, into a folder named by what is fetched and with which Secret."""
    rules, ref = draft.settings.policy, draft.model.spec.source.secret_ref
    fetch = FetchRequest(directory="", policy=_source_policy(rules.sources), max_bytes=rules.max_model_bytes, **asked)
    digest = _source_digest(Named(fetch.uri, (fetch, ref.name if ref else "")))
    return dataclasses.replace(fetch, directory=f"{ARTIFACTS}/{folder}/{digest[:16]}")


@lru_cache(maxsize=1024)
def _source_digest(of: Named[tuple[FetchRequest, str]]) -> str:
    fetch, secret = of.parts
    return names.digest([identity_of(fetch), secret])


def _signature_rule(signature: Signature) -> SignatureRule:
    if signature.identity:
        return SignatureRule(identity=signature.identity.identity, issuer=signature.identity.issuer)
    key = signature.public_key_ref
    assert key is not None
    return SignatureRule(public_key=f"env:{PUBLIC_KEY_VARIABLE}", origin=f"{key.name}/{key.key}")


def _source_policy(sources: Sources) -> SourcePolicy:
    networks = tuple(str(network) for network in sources.networks)
    return SourcePolicy(sources.schemes, sources.hosts, sources.private_networks, networks)


def _optimize(draft: _Draft) -> Progress | None:
    spec = draft.model.spec
    validated = _result(draft, Stage.VALIDATE, ValidateResult)
    source = next(step.request.directory for step in draft.steps if step.stage is Stage.VALIDATE)
    parity, calibration = spec.optimization.parity, spec.optimization.calibration
    # What a variant that was not asked for needs does not make the others again.
    static = "int8-static" in spec.optimization.variants
    fetch = None
    if static and calibration.uri:  # in this Job, so that other data validate nothing again
        fetch = _fetch(draft, CALIBRATION_DATA_FOLDER, uri=calibration.uri, kind="calibration", home=spec.source.uri)
    request = OptimizeRequest(
        model=f"{source}/{MODEL_FILE}",
        sha256=validated.model.sha256,
        directory="",
        variants=tuple(sorted(set(spec.optimization.variants), key=VARIANTS.index)),
        graph_level=spec.optimization.graph_level,
        data_sha256=validated.data_sha256,
        # 1, an odd size and, below, the largest: some defects show at certain sizes only.
        batch_sizes=(1, 3),
        tolerance=Tolerance(parity.relative, parity.absolute, parity.cosine),
        providers=draft.platform.providers,
        calibration=_calibration(calibration) if static else Calibration(),
        calibration_data=fetch.directory if fetch else "",
        golden=validated.golden is not None,  # which mode Warn may have found unusable
        signer=validated.signer,
        batch=spec.validation.batch,
        sizes=validated.sizes,
        max_batch_size=spec.serving.batching.max_batch_size,
    )
    return _follow(draft, _step(draft, Stage.OPTIMIZE, request, draft.platform.server, fetch))


def _calibration(asked: AskedCalibration) -> Calibration:
    """A percentile that no method reads makes nothing again."""
    percentile = asked.percentile if asked.method == "Percentile" else Calibration().percentile
    return Calibration(asked.method, percentile, asked.samples)


def _benchmark(draft: _Draft) -> Progress | None:
    spec = draft.model.spec.benchmark
    optimized = _result(draft, Stage.OPTIMIZE, OptimizeResult)
    candidates = tuple(
        Candidate(v.name, v.path, v.sha256, v.graph_level, v.data_sha256)
        for v in optimized.variants
        if selection.candidate(v)
    )
    request = BenchmarkRequest(
        candidates=candidates,
        probe=optimized.probe,
        batch_sizes=tuple(sorted(set(spec.batch_sizes))),
        concurrency=tuple(sorted(set(spec.concurrency))),
        instances=draft.model.spec.serving.instances,
        providers=draft.platform.providers,
        optimized=f"{PurePosixPath(optimized.probe).parent}/{REPORT_FILE}",
        namespace=draft.model.namespace,
        name=draft.model.name,
        attempt=spec.attempt,
        batch=optimized.batch,
    )
    return _follow(draft, _step(draft, Stage.BENCHMARK, request, draft.platform.server))


def _choose(draft: _Draft) -> Progress | None:
    spec = draft.model.spec.benchmark
    optimized = _result(draft, Stage.OPTIMIZE, OptimizeResult)
    measured = _result(draft, Stage.BENCHMARK, BenchmarkResult)
    joining = draft.model.spec.serving.batching.max_queue_delay_microseconds > 0
    draft.choice = choice = selection.choose(spec, optimized, measured, _serving(draft), joining=joining)
    return _constrained(
        draft, Stage.BENCHMARK, f"no variant meets the constraints; the best, {choice.winner.variant.name}"
    )


def _constrained(draft: _Draft, stage: Stage, what: str) -> Progress | None:
    """The gate: a winner that misses a constraint goes no further."""
    assert draft.choice is not None
    missed = draft.choice.winner.missed
    if not missed or draft.model.spec.benchmark.gate == "Warn":
        return None
    message = f"{what}: {'; '.join(missed)}"
    hint = (
        "Relax spec.benchmark.constraints, raise the CPU of spec.serving.resources, choose a faster spec.serving.nodePool, or "
        "set spec.benchmark.gate: Warn to serve it all the same. If the node was busy, raise spec.benchmark.attempt: that "
        "measures again."
    )
    trouble = Trouble(stage, Failure("ConstraintsNotMet", message, hint, "spec.benchmark.constraints"))
    return Progress(State.STALLED, "Failed", "ConstraintsNotMet", message, trouble)


def _serving(draft: _Draft) -> selection.Incumbent | None:
    """What the active revision was measured at, as status remembers it.

    Of results that were decided on before: what they were compared with then, or the choice would change by being made.
    """
    memory, digest = draft.seen.memory, names.short(draft.steps[-1].digest)
    for record in (memory.target, memory.active):
        if record and record.benchmark == digest:
            return _recorded(record.against)
    return _recorded(memory.active) if memory.active and _there(draft.seen, memory.active.revision) else None


def _recorded(record: AgainstStatus | RevisionStatus | None) -> selection.Incumbent | None:
    if record is None or record.measured is None or record.measured_on is None:
        return None
    return selection.Incumbent(record.revision, selection.remembered(record.measured), record.measured_on)


def _deploy(draft: _Draft) -> Progress | None:
    assert draft.choice is not None
    spec, model = draft.model.spec.serving, draft.model
    variant = draft.choice.winner.variant
    triton = draft.platform.triton
    request = ServeRequest(
        name=model.name,
        model=variant.path,
        sha256=variant.sha256,
        data_sha256=variant.data_sha256,
        probe=_result(draft, Stage.OPTIMIZE, OptimizeResult).probe,
        graph_level=variant.graph_level,
        providers=draft.platform.providers,
        tolerance=_tolerance(model),
        max_batch_size=spec.batching.max_batch_size,
        max_queue_delay_microseconds=spec.batching.max_queue_delay_microseconds,
        preferred_batch_sizes=tuple(sorted(set(spec.batching.preferred_batch_sizes))),
        default_timeout_microseconds=spec.batching.default_timeout_microseconds,
        # Triton bounds its queue by its batcher alone, which has a price: not unless it was asked for.
        max_queue_size=spec.batching.max_queue_size or (0 if triton else MAX_QUEUE_SIZE),
        instances=spec.instances,
        engine_cache=_ENGINES if "TensorRT" in draft.platform.providers.names and not triton else "",
        access_log=spec.access_log,
        batch=_result(draft, Stage.OPTIMIZE, OptimizeResult).batch,
        unjoined=variant.unjoined,
    )
    digest = _digest(_Inputs(draft.seen.claim_uid, "", request, draft.platform.server, triton=triton))
    request = dataclasses.replace(request, revision=names.short(digest))
    name = names.child(model.name, names.short(digest))
    loading = _result(draft, Stage.BENCHMARK, BenchmarkResult).load_seconds.get(variant.name, 0.0)
    claim = draft.seen.claim_uid or ""
    draft.revision = revision = Revision(
        digest, name, request, draft.platform.server, spec.replicas, claim, _startup_seconds(loading), triton
    )
    seen = draft.seen.revisions.get(revision.short)
    if spec.replicas == 0:
        return Progress(State.SCALED_TO_ZERO, "ScaledToZero", "ScaledToZero", "serving.replicas is 0: nothing serves")
    if seen is None:
        return _going("Deploying", "Deploying", f"Deployment {name} is being applied")
    return None


def _startup_seconds(loading: float) -> int:
    """Ten times what the benchmark needed to load the model, engines included. In few steps: it is part of the pods, which a
    measurement that is a little different must not replace."""
    return next((step for step in (STARTUP_SECONDS, 3600) if 10 * loading <= step), 14400)


def _loadtest(draft: _Draft) -> Progress | None:
    """Before a revision takes traffic, a client proves and measures one of its replicas.

    It begins when all of them are there, and then goes on whatever becomes of them: a replica that dies of it is an attempt
    that failed, and attempts are counted.
    """
    assert draft.choice is not None
    assert draft.revision is not None
    revision, model, winner = draft.revision, draft.model, draft.choice.winner
    assert winner.numbers is not None
    measured = _result(draft, Stage.BENCHMARK, BenchmarkResult)
    request = LoadTestRequest(
        name=model.name,
        host=f"{revision.name}.{model.namespace}.svc",
        probe=revision.request.probe,
        loads=selection.loads(winner.numbers, measured.points, winner.variant.name),
        tolerance=revision.request.tolerance,
        max_batch_size=revision.request.max_batch_size,
        variant=winner.variant.name,
        revision=revision.short,
        attempt=model.spec.benchmark.attempt,
        batch=revision.request.batch,
        unjoined=revision.request.unjoined,
    )
    seen = draft.seen.revisions[revision.short]
    complete = seen.complete and seen.wanted == revision.replicas
    # The digest covers the server's placement and not the client's: other resources of Jobs ask no server again.
    platform = draft.platform
    step = _step(draft, Stage.LOADTEST, request, platform.client, depends_on=revision.digest, covers=platform.server)
    if not complete and not (step.seen or step.outcome):
        return _rollout(draft, seen)
    stop = _follow(draft, step)
    if step.outcome:  # whether or not all replicas are there now: a pod that is away takes nothing back
        tested = _result(draft, Stage.LOADTEST, LoadTestResult)
        draft.choice = selection.as_served(model.spec.benchmark, draft.choice, tested.points)
    if not complete and not (stop and stop.state is State.STALLED):
        return _rollout(draft, seen)
    if stop:
        return stop
    return _constrained(draft, Stage.LOADTEST, f"revision {revision.short} does not meet the constraints")


def _probe(draft: _Draft) -> Progress | None:
    """Traffic goes to the new revision, and a client asks the Service. If the answer is wrong, traffic goes back.

    A probe that could not ask proves nothing: traffic goes back where a proven revision can take it, and else stays with
    what has pods. A model's very first revision takes none before it is proven.
    """
    assert draft.revision is not None
    revision, model = draft.revision, draft.model
    request = ProbeRequest(
        name=model.name,
        host=f"{model.name}.{model.namespace}.svc",
        probe=revision.request.probe,
        tolerance=revision.request.tolerance,
        revision=revision.short,
    )
    stop = _follow(draft, _step(draft, Stage.PROBE, request, draft.platform.client, depends_on=revision.digest))
    failed = stop and stop.state is State.STALLED and _failed(draft.steps[-1].seen)
    if not failed:  # a probe that waits for a node or an image has yet to ask, and asks this revision
        draft.route = revision.short
    elif draft.route == revision.short and not _refuted(draft.steps[-1].seen, draft.seen.memory):
        return stop
    elif draft.route in (None, revision.short):
        draft.route = None  # there is no older revision to go back to, and an unproven one takes no traffic
        draft.lost.append(("Service", model.name))
        return stop
    if stop and draft.seen.routed != draft.route:
        draft.job = None  # asked before the Service points there, the probe would ask the old revision
        return _going(
            STAGES[Stage.PROBE].phase, "Switching", f"Service {model.name} is being switched to revision {draft.route}"
        )
    return stop


_ROAD: tuple[Callable[[_Draft], Progress | None], ...] = (
    _claim,  # there is a volume for the artifacts
    _validate,  # the model was fetched, its digest is right and nothing is wrong with it
    _optimize,  # the variants are made, and each is known to answer as the original or not to
    _benchmark,  # each that does was measured where it will serve
    _choose,  # the winner meets the constraints
    _deploy,  # there is a Deployment of exactly this revision
    _loadtest,  # it runs on all replicas, and one meets the constraints as clients will see it
    _probe,  # the Service points to it, and a real inference through the Service gave the expected answer
)


def _ready(draft: _Draft) -> Progress:
    assert draft.choice is not None
    assert draft.revision is not None
    if draft.seen.routed != draft.revision.short:
        return _going(
            STAGES[Stage.PROBE].phase,
            "Switching",
            f"Service {draft.model.name} is being switched to {draft.revision.short}",
        )
    missed = "; ".join(draft.choice.winner.missed)
    return Progress(State.READY, "Ready", "Ready", f"{draft.choice.sentence}{f' (misses: {missed})' if missed else ''}")


# ---- what the steps share --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What the digest of a stage covers, or of a revision (stage ""). Compared whole, and hashed by whose it is: a request
    holds maps.

    Python's 1 is equal to 1.0 and to True, and JSON's is not. That does no harm where each field has one type of number:
    `api.spec` and `contract` read 1 as 1.0 where a field is a float, and refuse True.
    """

    claim: str | None
    stage: str
    request: Any
    placement: Placement
    fetch: FetchRequest | None = None
    depends_on: str = ""
    triton: str = ""

    def __hash__(self) -> int:
        return hash((self.claim, self.stage))


@lru_cache(maxsize=1024)
def _digest(inputs: _Inputs) -> str:
    """Remembered: each turn of a model asks for all that it is made from."""
    covered = {
        "request": identity_of(inputs.request),
        "placement": _plain(inputs.placement),
        "claim": inputs.claim,
    }
    if inputs.stage:
        # Its folder too, which says with which Secret it is fetched.
        fetch = {**identity_of(inputs.fetch), "directory": inputs.fetch.directory} if inputs.fetch else None
        covered |= {"stage": inputs.stage, "fetch": fetch, "dependsOn": inputs.depends_on}
    if inputs.triton:
        covered["triton"] = inputs.triton
    return names.digest(covered)


def _step(
    draft: _Draft,
    stage: Stage,
    request: Any,
    placement: Placement,
    fetch: FetchRequest | None = None,
    depends_on: str = "",
    covers: Placement | None = None,
) -> Step:
    """One Job's stage as far as it is known. covers: the placement that the digest covers, where that is not the Job's own."""
    digest = _digest(_Inputs(draft.seen.claim_uid, stage, request, covers or placement, fetch, depends_on))
    if STAGES[stage].directory:
        request = dataclasses.replace(request, directory=f"{ARTIFACTS}/{stage}/{digest[:16]}")
    name = names.child(draft.model.name, stage, names.short(digest))
    seen = draft.seen.jobs.get((stage, digest))
    record = draft.seen.memory.success(stage, digest)
    outcome = decode(record) if record else None
    if outcome is None and seen and seen.outcome and seen.outcome.result:
        outcome, record = seen.outcome, seen.message
    if record and results.problem(stage, request, record):
        outcome, record = None, None
    return Step(stage, digest, name, request, placement, fetch, outcome, record, seen, _quiet(draft, seen))


def _quiet(draft: _Draft, seen: JobSeen | None) -> bool:
    """What a Job was made with stays while it runs. A pod that cannot start, whosever it is, must not hold up measurements."""
    waits = seen and seen.waiting and seen.waiting.failure.reason == "WaitingForQuietNode"
    return seen.quiet if seen and not waits else not draft.seen.stuck


def _follow(draft: _Draft, step: Step) -> Progress | None:
    """The stage on the road: nothing to say once its result is known, else how far its Job is."""
    draft.steps.append(step)
    stage, name, seen = step.stage, step.job, step.seen
    phase = STAGES[stage].phase
    if step.outcome:
        return None
    if seen is None:
        draft.job = step
        return _going(phase, phase, f"Job {name} is being created")
    said = draft.seen.memory.failed and draft.seen.memory.failure_of(name)
    if (seen.state == "Succeeded" and not seen.outcome) or (seen.state == "Failed" and not said):
        draft.doubts.add(name)  # its pod has the result, or the reason why there is none
    wrong = results.problem(stage, step.request, seen.message) if seen.message else None
    if seen.state == "Succeeded" and (wrong or seen.pods):
        message = f"Job {name} succeeded with a result that cannot be used: {wrong or 'its termination message cannot be read'}"
        hint = "Use runtime images of the operator's release (runtimeImages in the chart's values)." + _commands(
            draft, name
        )
        failure = Failure("ResultInvalid", message, hint)
        return Progress(State.STALLED, "Failed", failure.reason, message, Trouble(stage, failure, job=name))
    if seen.state == "Succeeded":
        draft.lost.append(("Job", name))
        return _going(
            phase, "ResultLost", f"Job {name} succeeded but its pod was gone before its result was read: it runs again"
        )
    draft.job = step
    return _job_progress(draft, seen, phase)


def _job_progress(draft: _Draft, seen: JobSeen, phase: str) -> Progress:
    if _failed(seen):
        assert seen.ended is not None
        failure = seen.ended.failure
        if not seen.pods and (last := draft.seen.memory.failure_of(seen.name)):
            # The pod is gone, and with it why it failed: status remembers.
            failure = Failure(last.reason, last.message, last.hint.partition(COMMANDS)[0], last.field or "")
        failure = dataclasses.replace(failure, hint=failure.hint + _commands(draft, seen.name))
        trouble = Trouble(seen.stage, failure, seen.ended.exit_code, seen.name, seen.attempts)
        return Progress(State.STALLED, "Failed", failure.reason, failure.message, trouble)
    if seen.waiting:
        return _waiting(draft, seen.waiting, phase, seen.stage, seen.name)
    if seen.ended:
        trouble = Trouble(seen.stage, seen.ended.failure, seen.ended.exit_code, seen.name, seen.attempts)
        message = f"attempt {seen.attempts} failed and is tried again: {seen.ended.failure.message}"
        if seen.kept_alive_by:
            message = (
                f"attempt {seen.attempts} failed, and container {seen.kept_alive_by}, which is not the operator's, keeps its "
                f"pod from ending before it is tried again: {seen.ended.failure.message}"
            )
        return Progress(State.RECONCILING, phase, "ProgressingWithRetry", message, trouble)
    return _going(phase, phase, f"Job {seen.name} runs")


def _commands(draft: _Draft, job: str) -> str:
    """How to read the stage's log, the server's where it is asked, and how to run the stage again."""
    kubectl = f"kubectl -n {draft.model.namespace}"
    logs = f"{kubectl} logs job/{job} --all-containers"
    if draft.revision:  # only a load test and a probe come after it
        logs += f"; the server's: {kubectl} logs deployment/{draft.revision.name} --all-containers"
    return f"{COMMANDS}{logs}. To run the stage again: {kubectl} delete job {job}"


_WRONG_ANSWERS = ("ProbeMismatch", "ProbeRefused")
"""Reasons of a probe that was answered."""


def _failed(seen: JobSeen | None) -> bool:
    """The Job's own verdict comes a little later than its pod's end."""
    return seen is not None and (seen.state == "Failed" or bool(seen.ended and seen.ended.terminal))


def _rollout(draft: _Draft, seen: RevisionSeen) -> Progress:
    phase = "Deploying"
    assert draft.revision is not None
    message = f"{seen.available} of {draft.revision.replicas} replicas of revision {seen.revision} are available"
    if seen.ended:
        log = f"{COMMANDS}kubectl -n {draft.model.namespace} logs deployment/{seen.name} --all-containers"
        failure = dataclasses.replace(seen.ended.failure, hint=seen.ended.failure.hint + log)
        trouble = Trouble("serve", failure, seen.ended.exit_code)
        if (seen.ended.terminal and not seen.available) or seen.overdue:
            return Progress(State.STALLED, "Failed", seen.ended.failure.reason, seen.ended.failure.message, trouble)
        return Progress(
            State.RECONCILING, phase, "ProgressingWithRetry", f"{message}; {seen.ended.failure.message}", trouble
        )
    if seen.waiting:
        return _waiting(draft, seen.waiting, phase, "serve", None)
    if seen.overdue:
        pods = f"kubectl -n {draft.model.namespace} describe pods -l {names.LABEL_REVISION}={seen.revision}"
        failure = Failure("ProgressDeadlineExceeded", message, f"The pods' events say what they wait for: {pods}")
        return Progress(State.STALLED, "Failed", failure.reason, message, Trouble("serve", failure))
    return _going(phase, "RollingOut", message)


def _waiting(draft: _Draft, waiting: Waiting, phase: str, stage: str, job: str | None) -> Progress:
    """A pod without node or image may get one; after the deadline someone must look. It is Reconciling again if it moves."""
    trouble = Trouble(stage, waiting.failure, job=job)
    waited = draft.now - (waiting.since or draft.now)
    normal = timedelta(seconds=waiting.normal_seconds)
    if waited < normal:
        draft.requeue_seconds = (normal - waited).total_seconds()
        return _going(phase, phase, f"Job {job} runs" if job else "the server's pods start")
    left = timedelta(seconds=draft.settings.progress_deadline_seconds) - waited
    if waiting.queued:
        draft.requeue_seconds = _QUEUE_SECONDS
        return Progress(State.RECONCILING, phase, waiting.failure.reason, waiting.failure.message, trouble)
    if left <= timedelta():
        return Progress(State.STALLED, "Failed", waiting.failure.reason, waiting.failure.message, trouble)
    draft.requeue_seconds = min(left.total_seconds(), _EVENT_SECONDS) if waiting.about else left.total_seconds()
    return Progress(State.RECONCILING, phase, waiting.failure.reason, waiting.failure.message, trouble)


def load_tested(job: Step | None, revision: Revision | None) -> Revision | None:
    """The revision that is asked through a Service of its own: while the Job of its load test is wanted."""
    return revision if job and job.stage is Stage.LOADTEST else None


def active_revision(seen: Observed) -> str | None:
    """The revision that was proven last, while it is there or can be restored; else what the Service selects.

    What a model's very first Service selects counts only with a lost status: else it is known to be unproven.
    """
    memory = seen.memory
    if memory.active and _there(seen, memory.active.revision):
        return memory.active.revision
    unproven = bool(memory.stages) and not memory.proven
    return seen.routed if not unproven and _there(seen, seen.routed) else None


def route(model: Resource, seen: Observed, active: str | None) -> str | None:
    """The revision that takes traffic unless the newest spec proves another one.

    That is the active one. But while it lacks pods that it should have, a newer revision that already takes traffic
    keeps it, unless its probe got a wrong answer.
    """
    taking = seen.routed or ""
    if active is None or model.replicas == 0 or _available(seen, active) or not _available(seen, taking):
        return active
    return active if any(_refuted(job, seen.memory) for job in seen.jobs.values()) else taking


def _refuted(job: JobSeen | None, memory: Memory) -> bool:
    """Whether a server gave the probe another answer than it must. A probe that found no server, or none of the revision,
    or no node, refutes nothing.
    """
    if job is None or job.stage != Stage.PROBE or not _failed(job) or job.ended is None:
        return False
    last = None if job.pods else memory.failure_of(job.name)
    return (last.reason if last else job.ended.failure.reason) in _WRONG_ANSWERS


def _available(seen: Observed, revision: str) -> bool:
    return revision in seen.revisions and seen.revisions[revision].available > 0


def _there(seen: Observed, revision: str | None) -> bool:
    """Whether the revision has a Deployment, or a record to restore it from."""
    return revision in seen.revisions or revision in seen.records


def _prune(draft: _Draft, active: str | None) -> tuple[tuple[str, str], ...]:
    """Jobs of other digests than the chain's, Deployments that neither serve nor shall, Services of load tests that are over.

    `active` stays until status names its successor: a turn that is cut short would else leave a status that names a
    revision without pods, and a newer spec would send traffic back to it. While it has no pods, the revision that takes
    traffic stays as well.
    """
    kept_jobs = {step.job for step in draft.steps}
    if draft.seen.claim_uid is None:
        return ()  # nothing is known to be superfluous before everything has its name
    kept_revisions = {
        draft.revision.short if draft.revision else None,
        active,
        draft.route,
        route(draft.model, draft.seen, active),
    }
    # By name, for anybody can remove a label.
    kept_names = {names.child(draft.model.name, revision) for revision in kept_revisions if revision}
    jobs = [
        ("Job", job.name) for job in draft.seen.jobs.values() if job.name not in kept_jobs and _superfluous(draft, job)
    ]
    jobs += [("Job", step.job) for step in draft.steps if _over(draft, step)]
    revisions = [
        (kind, name)
        for kind in ("Deployment", "ControllerRevision")
        for (live, name) in draft.seen.live
        if live == kind and name not in kept_names
    ]
    tested = load_tested(draft.job, draft.revision)
    kept_services = {draft.model.name, tested.name if tested else None}
    services = [child for child in draft.seen.live if child[0] == "Service" and child[1] not in kept_services]
    return tuple(child for child in (*jobs, *draft.lost, *revisions, *services) if child in draft.seen.live)


def _superfluous(draft: _Draft, job: JobSeen) -> bool:
    """Whether a Job that no step asks for is of another chain. One that succeeded in a stage to which this chain has yet to
    come may be its own: a Deployment that is away for a moment must not cost the log of its load test.
    """
    unreached = job.stage not in {step.stage for step in draft.steps}
    return not (unreached and job.state == "Succeeded") or _outlived(draft, job)


def _over(draft: _Draft, step: Step) -> bool:
    """Whether a Job's result is in status, and nobody reads its log any more, or it would never end by itself."""
    seen = step.seen
    return bool(seen and draft.seen.memory.success(step.stage, step.digest) and _outlived(draft, seen))


def _outlived(draft: _Draft, seen: JobSeen) -> bool:
    """Whether a Job was kept for as long as the platform wants it. If not, the plan looks again then."""
    ended = parse_time(seen.completion_time) if seen.completion_time else None
    if seen.state != "Succeeded" or ended is None:
        return bool(seen.kept_alive_by)
    left = (ended - draft.now).total_seconds() + draft.settings.jobs.keep_succeeded_seconds
    if left > 0:
        draft.requeue_seconds = min(left, draft.requeue_seconds or left)
    return left <= 0


_FOLDER = re.compile(rf"{ARTIFACTS}/([a-z]+/[0-9a-f]{{16}})")


def _needed(draft: _Draft) -> tuple[str, ...]:
    """Folders of the volume that the spec needs, that serve, or that a spec which status remembers would go back to."""
    paths = [stage.directory or "" for stage in draft.seen.memory.successes]
    paths += [getattr(step.request, "directory", "") for step in draft.steps]
    paths += [step.fetch.directory for step in draft.steps if step.fetch]
    for (kind, _), item in draft.seen.live.items():
        if kind in ("Deployment", "ControllerRevision"):
            paths += _arguments(item)
    return tuple(sorted({folder for path in paths for folder in _FOLDER.findall(path)}))


def _arguments(item: Mapping[str, Any]) -> list[str]:
    """Those of the containers of a Deployment, or of the one that a ControllerRevision holds."""
    pod = item.get("data", item)["spec"]["template"]["spec"]
    containers = (*pod.get("initContainers", ()), *pod["containers"])
    return [argument for container in containers for argument in container.get("args", ())]


def serve_request(seen: Observed, revision: str) -> dict[str, Any]:
    """What the server of a revision was asked for, by either runtime; empty where that cannot be read."""
    record, deployment = seen.records.get(revision), seen.revisions.get(revision)
    item = record or (seen.live["Deployment", deployment.name] if deployment else None)
    for argument in _arguments(item) if item else ():
        with contextlib.suppress(ValueError):
            request = json.loads(argument)
            if isinstance(request, dict):
                return dict(request.get("serve", request))
    return {}


R = TypeVar("R", ValidateResult, OptimizeResult, BenchmarkResult, LoadTestResult, ProbeResult)


def _result(draft: _Draft, stage: Stage, kind: type[R]) -> R:
    step = next(step for step in draft.steps if step.stage is stage)
    assert step.outcome is not None
    assert isinstance(step.outcome.result, kind)
    return step.outcome.result


def _going(phase: str, reason: str, message: str) -> Progress:
    return Progress(State.RECONCILING, phase, reason, message)


def _tensors(contracts: list[Any] | None) -> tuple[Tensor, ...]:
    return tuple(Tensor(item.name, item.datatype, tuple(item.shape)) for item in contracts or ())


def _tolerance(model: OnnxModel) -> Tolerance:
    parity = model.spec.optimization.parity
    return Tolerance(parity.relative, parity.absolute, parity.cosine)


def _plain(placement: Placement) -> dict[str, Any]:
    """A placement as data that a digest may cover."""
    return {
        "image": placement.image,
        "pool": placement.pool.data,
        "resources": placement.resources.data,
        "gpus": placement.gpus,
    }
