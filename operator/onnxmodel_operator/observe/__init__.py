"""What the cluster holds of one model, as plain values: Jobs, Deployments and pods in, facts out. No reads, no decisions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from onnxmodel_operator import names, tritonlog
from onnxmodel_operator.observe.memory import Memory, read
from onnxmodel_runtime.contract.codec import ContractError
from onnxmodel_runtime.contract.outcome import ExitCode, Failure, Outcome, decode
from onnxmodel_runtime.contract.stages import STAGES
from onnxmodel_runtime.contract.validate import Finding

Object = Mapping[str, Any]

_WAITING_FOR_OTHERS = {  # reasons of a waiting container that are not an error
    "ContainerCreating",
    "PodInitializing",
}
MEASURING = tuple(stage for stage, spec in STAGES.items() if spec.measures)
WORKING = tuple(stage for stage, spec in STAGES.items() if spec.works)
"""Stages that use a node's cores for longer than a moment."""
_NAMED = 3
_SETTINGS = "under settings in the chart's values"
_SIGNALS = {132: "SIGILL", 134: "SIGABRT", 135: "SIGBUS", 136: "SIGFPE", 139: "SIGSEGV"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The raw objects of one model, from the cache. None: there is no such model.

    busy: pods of stages that are on a node, of this model and of all others.
    """

    model: Object | None
    jobs: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    deployments: tuple[Object, ...] = ()
    services: tuple[Object, ...] = ()
    claims: tuple[Object, ...] = ()
    busy: tuple[Object, ...] = ()
    records: tuple[Object, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A pod that does not get on: no node, no image, no Secret. since: when that began, as far as the pod tells.

    normal_seconds: up to then nothing is wrong. queued: it waits for its turn, which comes; no time is too long.
    about: the uid of the object whose warning events say why. silent: without such an event nothing is wrong.
    """

    failure: Failure
    since: datetime | None
    normal_seconds: float = 0
    queued: bool = False
    about: str = ""
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning event. time: when it was seen last."""

    reason: str
    message: str
    time: datetime | None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended. terminal: the same run again would end the same way. findings: why validation refused."""

    failure: Failure
    exit_code: int | None
    time: str
    terminal: bool
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class JobSeen:
    """One Job of a stage. outcome: the success. ended: of the last attempt that failed. attempts: those that failed.

    kept_alive_by: a container that is not the stage's and goes on after its end, so that the Job cannot end; "" for none.
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
    """One Deployment. complete: exactly this template runs on every wanted replica, and all are available."""

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


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that a decision may depend on."""

    claim_uid: str | None
    claim_leaves: bool
    """The volume is being deleted, and waits for pods that use it."""
    jobs: Mapping[tuple[str, str], JobSeen]
    revisions: Mapping[str, RevisionSeen]
    routed: str | None
    """The revision that the Service selects."""
    live: Mapping[tuple[str, str], Object]
    """Children as they are, by (kind, name)."""
    stuck: bool = False
    """A pod of a stage, whosever, has a node and cannot start there, or failed and is kept from ending by a sidecar: nobody
    knows for how long.
    """
    memory: Memory = field(default_factory=Memory)
    """The model's own status."""
    records: Mapping[str, Object] = field(default_factory=dict)
    """The Deployment of each revision as it was applied, replicas aside, from its ControllerRevision. Of this volume alone."""


def observe(snapshot: Snapshot) -> Observed:
    """The snapshot of one model, understood.

    Children of an earlier model of the same name, which the garbage collector has yet to remove, are not this model's.
    """
    pods_of = _by_owner(snapshot.pods)
    staying = [pod for pod in snapshot.pods if not _deleting(pod)]
    pods_at = _by_label(staying, names.LABEL_REVISION)
    uid = snapshot.model["metadata"]["uid"] if snapshot.model else ""
    status = (snapshot.model or {}).get("status") or {}
    children = {
        kind: [item for item in items if _owned(item, uid)]
        for kind, items in (
            ("Job", snapshot.jobs),
            ("Deployment", snapshot.deployments),
            ("Service", snapshot.services),
            ("PersistentVolumeClaim", snapshot.claims),
            ("ControllerRevision", snapshot.records),
        )
    }
    jobs = [
        _job(job, pods_of.get(job["metadata"]["uid"], []), snapshot) for job in children["Job"] if not _deleting(job)
    ]
    revisions = [
        _revision(item, pods_at.get(_label(item, names.LABEL_REVISION), []), snapshot.claims)
        for item in children["Deployment"]
        if not _deleting(item)
    ]
    service = next((item for item in children["Service"] if _routes(item)), None)
    claims = [claim for claim in children["PersistentVolumeClaim"] if not _deleting(claim)]
    return Observed(
        claim_uid=claims[0]["metadata"]["uid"] if claims else None,
        claim_leaves=bool(children["PersistentVolumeClaim"]) and not claims,
        jobs={(job.stage, job.digest): job for job in jobs},
        revisions={revision.revision: revision for revision in revisions},
        records={
            _label(item, names.LABEL_REVISION): item["data"]
            for item in children["ControllerRevision"]
            if not _deleting(item) and claims and _of_claim(item, claims[0])
        },
        routed=service["spec"].get("selector", {}).get(names.LABEL_REVISION) if service else None,
        live={(kind, item["metadata"]["name"]): item for kind, items in children.items() for item in items},
        memory=read(status, uid),
        stuck=any(_label(pod, names.LABEL_STAGE) not in MEASURING and _idle(pod) for pod in snapshot.busy),
    )


def is_a_wish(model: Object) -> bool:
    """Whether a model asks for what its status does not know yet."""
    known = (model.get("status") or {}).get("observedGeneration")
    return "deletionTimestamp" in model["metadata"] or known != model["metadata"]["generation"]


def decides(kind: str, item: Object | None) -> bool:
    """Whether a change of it may be what a next step waits for. item: None where it is gone.

    What a pod comes to, its Job or Deployment tells as well, in a moment; what else it tells (no node, no image) is for
    people.
    """
    if kind == "Job" and item is not None:
        conditions = item.get("status", {}).get("conditions") or ()
        return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)
    return kind not in ("Pod", names.KIND)


def puzzles(seen: Observed, now: datetime) -> set[str]:
    """The uids of objects whose events must be read, because nothing else says why something waits."""
    waits = [job.waiting for job in seen.jobs.values()] + [item.waiting for item in seen.revisions.values()]
    return {w.about for w in waits if w and w.about and now - (w.since or now) >= timedelta(seconds=w.normal_seconds)}


def explained(seen: Observed, warnings: Mapping[str, Iterable[Warned]], now: datetime) -> Observed:
    """The same with what the events say. warnings: by uid, the newest first."""
    if not warnings:
        return seen

    def told(waiting: Waiting | None) -> Waiting | None:
        if waiting is None or waiting.about not in warnings:
            return waiting
        newest = next(iter(warnings[waiting.about]), None)
        if waiting.silent and not (newest and newest.time and now - newest.time <= _RECENT):
            return None
        if newest is None:
            return waiting
        message = f"{waiting.failure.message}: {newest.message}"[:1024]
        hint = _hint(newest.message) or waiting.failure.hint
        return replace(waiting, failure=replace(waiting.failure, message=message, hint=hint))

    return replace(
        seen,
        jobs={key: replace(job, waiting=told(job.waiting)) for key, job in seen.jobs.items()},
        revisions={key: replace(item, waiting=told(item.waiting)) for key, item in seen.revisions.items()},
    )


_RECENT = timedelta(minutes=5)
"""What a kubelet warned of and warns of no more is over."""
_HINTS = (
    ("exceeded quota", "Raise the ResourceQuota that the message names, free some of it, or lower serving.resources (fetch, "
     f"validate, loadtest and probe: jobs.resources {_SETTINGS}). It goes on by itself then."),
    (" per Container", "Choose serving.resources within the namespace's LimitRange (kubectl describe limitrange); fetch, "
     f"validate, loadtest and probe have jobs.resources {_SETTINGS}."),
    ("violates PodSecurity", "Pods of models meet the restricted Pod Security Standard, so a webhook must have changed this "
     "one: compare what the message names with the pod template of the Job or Deployment."),
    ("admission webhook", "Change what the webhook refuses, or ask whoever runs it to allow these pods."),
    ("PriorityClass", f"Create the PriorityClass, or correct pools.*.priorityClassName {_SETTINGS}."),
    ("RuntimeClass", f"Create the RuntimeClass, or correct pools.*.runtimeClassName {_SETTINGS}."),
    ("service account", "Create the namespace's ServiceAccount default again: kubectl create serviceaccount default."),
    ("storageclass", f"Create the StorageClass; or correct artifacts.storageClassName {_SETTINGS}, delete the model and apply "
     "it again."),
    ("Multi-Attach", "Wait until the pods on the other node are gone: the volume is ReadWriteOnce. For models that are new, "
     f"artifacts.accessMode: ReadWriteMany {_SETTINGS} allows several nodes."),
)  # fmt: skip
"""By words of Kubernetes' own sentences. Where they change, the general hint stands, and the sentence is there anyway."""


def _hint(sentence: str) -> str:
    return next((hint for words, hint in _HINTS if words in sentence), "")


def _of_claim(record: Object, claim: Object) -> bool:
    """Whether the volume is there that has the revision's artifacts."""
    annotations = record["metadata"].get("annotations", {})
    return bool(annotations.get(names.ANNOTATION_CLAIM) == claim["metadata"]["uid"])


def _routes(service: Object) -> bool:
    """Whether clients ask it: it has the model's name, and that of a load test its revision's."""
    return bool(service["metadata"]["name"] == _label(service, names.LABEL_MODEL))


def works_on_a_node(pod: Object) -> bool:
    """Whether it is a stage's, has a node, and has not ended. A probe's does not count: it is a single inference."""
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return _label(pod, names.LABEL_STAGE) in WORKING and bool(pod.get("spec", {}).get("nodeName")) and not ended


def _job(job: Object, pods: list[Object], snapshot: Snapshot) -> JobSeen:
    status = job.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", ()) if c["status"] == "True"}
    # FailureTarget and SuccessCriteriaMet come first and stay: the pods' messages are final then, the Job's end is not.
    state = "Succeeded" if "Complete" in conditions else "Failed" if "Failed" in conditions else "Running"
    stage = _label(job, names.LABEL_STAGE)
    sidecar = next((name for pod in pods if (name := _sidecar(pod, stage))), "")
    outcome, message = _success(pods) if state == "Succeeded" or sidecar else (None, None)
    ends = [end for pod in pods if (end := _pod_end(pod))]
    ended = max(ends, key=lambda end: end.time, default=None)
    if state == "Failed" and (ended is None or conditions["Failed"].get("reason") == "BackoffLimitExceeded"):
        ended = _job_failure(job, conditions["Failed"], ended)
    return JobSeen(
        name=job["metadata"]["name"],
        stage=stage,
        digest=job["metadata"].get("annotations", {}).get(names.LABEL_DIGEST, ""),
        state=state,
        start_time=_began(job),
        completion_time=status.get("completionTime") or (conditions.get("Failed") or {}).get("lastTransitionTime"),
        outcome=outcome,
        message=message,
        ended=ended,
        attempts=max(status.get("failed", 0), len(ends)),  # a pod's end is seen before the Job counts it
        waiting=next((w for pod in pods if (w := _waiting(pod, snapshot.claims, snapshot.busy))), None)
        if pods
        else _no_pod(job, status),
        pods=len(pods),
        quiet=names.ANNOTATION_QUIET in job["metadata"].get("annotations", {}),
        kept_alive_by=sidecar,
    )


_AT_ONCE = timedelta(seconds=5)


def _began(job: Object) -> str | None:
    """When the stage began: as its Job was created, unless a queue (Kueue) held the Job back, suspended."""
    made: str | None = job["metadata"].get("creationTimestamp")
    started: str | None = job.get("status", {}).get("startTime")
    at, since = parse_time(started), parse_time(made)
    return started if at and since and at - since > _AT_ONCE else made or started


def _sidecar(pod: Object, stage: str) -> str:
    """A container that someone injected and that still runs after the stage's own has ended."""
    containers = pod.get("status", {}).get("containerStatuses", ())
    if not any(c["name"] == stage and "terminated" in c.get("state", {}) for c in containers):
        return ""
    return next((c["name"] for c in containers if c["name"] != stage and "running" in c.get("state", {})), "")


def _no_pod(job: Object, status: Object) -> Waiting | None:
    """A Job that was started and has no pod: a quota or an admission rule refuses it, and only events say which."""
    if not status.get("startTime"):
        return None
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    failure = Failure(
        "NoPod",
        f"Job {name} has no pod",
        f"A quota or an admission rule refuses it. Read the Job's events: kubectl -n {namespace} describe job {name}",
    )
    return Waiting(failure, parse_time(status["startTime"]), normal_seconds=10, about=job["metadata"]["uid"])


def _refused(status: Object) -> Waiting | None:
    """What the ReplicaSet controller says when it may not create pods."""
    for condition in status.get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message = f"the server's pods cannot be created: {condition.get('message', '')}"
            hint = _hint(message) or "Change what the message names: a quota or an admission rule refuses the pods."
            return Waiting(
                Failure("PodsRefused", message[:1024], hint), parse_time(condition.get("lastTransitionTime"))
            )
    return None


def _revision(deployment: Object, pods: list[Object], claims: Iterable[Object]) -> RevisionSeen:
    metadata, status = deployment["metadata"], deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    available = status.get("availableReplicas", 0)
    observed = status.get("observedGeneration", 0) >= metadata["generation"]
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    progressing = next((c for c in status.get("conditions", ()) if c["type"] == "Progressing"), None)
    return RevisionSeen(
        name=metadata["name"],
        revision=_label(deployment, names.LABEL_REVISION),
        wanted=wanted,
        ready=status.get("readyReplicas", 0),
        available=available,
        complete=observed and updated == total == available == wanted,
        overdue=bool(progressing and progressing.get("reason") == "ProgressDeadlineExceeded"),
        ended=max((end for pod in pods if (end := _pod_end(pod))), key=lambda end: end.time, default=None),
        waiting=next((w for pod in pods if (w := _waiting(pod, claims))), None) or _refused(status),
        runtime=_label(deployment, names.LABEL_RUNTIME) or "onnxruntime",
    )


def _success(pods: list[Object]) -> tuple[Outcome | None, str | None]:
    """The outcome of the stage that succeeded, decoded and as it came. (None, None) where it cannot be read."""
    for pod in pods:
        for status in pod.get("status", {}).get("containerStatuses", ()):
            end = status.get("state", {}).get("terminated") or {}
            if end.get("exitCode") == ExitCode.OK:
                try:
                    return decode(end.get("message", "")), end["message"]
                except ContractError:
                    continue
    return None, None


def _pod_end(pod: Object) -> Ended | None:
    """How the pod's failing container ended, init containers included; what a restarted one said last time otherwise."""
    status = pod.get("status", {})
    containers = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    for container in containers:
        if container.get("ready") and container.get("started"):
            continue
        end = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")
        if end and end.get("exitCode") != ExitCode.OK:
            ended = _ended(end, container["name"], pod)
            return replace(ended, terminal=False) if _disrupted(pod) else ended
    if status.get("phase") == "Failed":
        reason, message = status.get("reason") or "PodFailed", status.get("message") or "the pod failed"
        hint = "No action needed: it is retried."
        if reason == "DeadlineExceeded":
            hint = f"Raise jobs.attemptSeconds {_SETTINGS}, or give the stage more CPU (spec.serving.resources)."
        return Ended(Failure(reason, message, hint), None, _pod_time(pod), terminal=False)
    return None


def _disrupted(pod: Object) -> bool:
    """Evicted, preempted, or on a node that went: how it ended says nothing of the model."""
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "DisruptionTarget" and c["status"] == "True" for c in conditions)


def _ended(end: Object, container: str, pod: Object) -> Ended:
    code, time = end.get("exitCode"), end.get("finishedAt") or ""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    try:
        outcome = decode(end.get("message") or "")
        if outcome.failure:
            failure = replace(outcome.failure, reason=outcome.failure.reason or "Unknown")
            return Ended(failure, code, time, code == ExitCode.REFUSED, outcome.findings)
    except ContractError:
        pass  # died without a word: the exit code and the log's end are all there is
    if code == 137 and end.get("reason") != "OOMKilled":
        failure = Failure(
            "Killed",
            f"container {container} was killed (SIGKILL) from outside: by the node, or because it did not start or answer",
            f"The pod's events say who killed it: kubectl -n {namespace} describe pod {name}",
        )
        return Ended(failure, code, time, terminal=False)
    if end.get("reason") == "OOMKilled":
        memory_limit = _memory_limit(pod, container)
        limit = f" (limit {memory_limit})" if memory_limit else ""
        failure = Failure(
            "OutOfMemory",
            f"container {container} was killed because it needed more memory than it may use{limit}",
            f"Raise spec.serving.resources.limits.memory (optimize, benchmark, server) or jobs.resources {_SETTINGS} (fetch, "
            "validate, loadtest, probe), lower spec.serving.batching.maxBatchSize (a server runs that many rows when it "
            "starts), or use a smaller or quantized model.",
        )
        return Ended(failure, code, time, terminal=True)
    if code in _SIGNALS:
        failure = Failure(
            "NativeCrash",
            f"container {container} died with {_SIGNALS[code]}: the model crashes the native runtime",
            "Export the model with a current exporter. If it still crashes, report the model to ONNX Runtime.",
        )
        return Ended(failure, code, time, terminal=True)
    if said := tritonlog.failure(end.get("message") or ""):
        return Ended(said[0], code, time, terminal=said[1])
    log = (end.get("message") or "").strip().splitlines()
    message = f"container {container} ended with exit code {code}" + (f": {log[-1]}" if log else "")
    hint = f"Read the container's log: kubectl -n {namespace} logs {name} -c {container}"
    return Ended(Failure("UnexpectedExit", message[:1024], hint), code, time, terminal=False)


def _job_failure(job: Object, condition: Object, last: Ended | None) -> Ended:
    """A Job that gave up. With a last attempt, its words; its message says that there will be no other."""
    time = condition.get("lastTransitionTime") or ""
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    if last is None:
        reason, message = condition.get("reason") or "JobFailed", condition.get("message") or "the Job failed"
        hint = f"Read the Job's events: kubectl -n {namespace} describe job {name}"
        return Ended(Failure(reason, message, hint), None, time, terminal=True)
    failure = Failure(
        last.failure.reason,
        f"{last.failure.message} (every attempt failed; there will be no more)",
        last.failure.hint,
        last.failure.field,
    )
    return Ended(failure, last.exit_code, last.time, terminal=True)


def _waiting(pod: Object, claims: Iterable[Object], busy: Iterable[Object] = ()) -> Waiting | None:
    status = pod.get("status", {})
    if status.get("phase") not in (None, "Pending", "Running") or _deleting(pod):
        return None
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            since = parse_time(condition.get("lastTransitionTime"))
            if queued := _queued(pod, condition.get("message", ""), busy):
                return Waiting(queued, since, queued=True)
            reason = condition.get("reason") or "Unschedulable"
            failure = Failure(
                reason,
                f"pod {pod['metadata']['name']} has no node: {condition.get('message', '')}",
                "Add a node to the pool, or free one, so that it has what the pod requests; or change spec.serving.nodePool, "
                "gpus or resources.",
            )
            # Whoever set the gate will lift it. A volume that cannot be made is a pod without node, and its claim says why.
            unbound = next((c["metadata"]["uid"] for c in claims if c.get("status", {}).get("phase") == "Pending"), "")
            return Waiting(failure, since, queued=reason == "SchedulingGated", about=unbound)
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        waiting = container.get("state", {}).get("waiting")
        if waiting and waiting.get("reason") and waiting["reason"] not in _WAITING_FOR_OTHERS:
            if waiting["reason"] == "CrashLoopBackOff":
                continue  # how it ended says more
            failure = Failure(*_explain_waiting(waiting, container, pod))
            return Waiting(failure, parse_time(status.get("startTime") or pod["metadata"].get("creationTimestamp")))
    return _not_begun(pod)


def _not_begun(pod: Object) -> Waiting | None:
    """A pod with a node, none of whose containers runs or ran: an image is pulled, or a volume or its network is not there."""
    status = pod.get("status", {})
    containers = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    if not containers or any(set(container.get("state", {})) - {"waiting"} for container in containers):
        return None
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    failure = Failure(
        "PodNotStarted",
        f"pod {name} has a node and does not start",
        f"Read the pod's events: kubectl -n {namespace} describe pod {name}",
    )
    since = parse_time(status.get("startTime"))
    return Waiting(failure, since, normal_seconds=60, about=pod["metadata"]["uid"], silent=True)


def _queued(pod: Object, message: str, busy: Iterable[Object]) -> Failure | None:
    """Why the scheduler keeps a pod from the nodes, where that is our own rule: a measurement has its node to itself."""
    if "anti-affinity" not in message or _has_other_rules(pod):  # the scheduler's word; the rest of its sentence varies
        return None
    name, measures = pod["metadata"]["name"], _label(pod, names.LABEL_STAGE) in MEASURING
    ahead = sorted(
        f"{other['metadata']['namespace']}/{other['metadata']['name']} on node {other['spec']['nodeName']}"
        for other in busy
        if measures or _label(other, names.LABEL_STAGE) in MEASURING
    )
    shown = ", ".join(ahead[:_NAMED]) + (f" and {len(ahead) - _NAMED} more" if len(ahead) > _NAMED else "")
    shown = shown or f"the scheduler is about to look again ({message})"
    if measures:
        return Failure(
            "WaitingForQuietNode",
            f"pod {name} waits to measure until no other stage runs on its node: {shown}"[:1024],
            "No action needed: it starts by itself. If a pod that the message names hangs, delete its Job.",
        )
    return Failure(
        "WaitingForMeasurement",
        f"pod {name} waits until a measurement on the node that it needs is over: {shown}"[:1024],
        "No action needed: it starts by itself. More nodes in the pool shorten the wait.",
    )


def _has_other_rules(pod: Object) -> bool:
    """Whether the pool has anti-affinity of its own: then only the scheduler knows which rule it is."""
    rules = pod.get("spec", {}).get("affinity", {}).get("podAntiAffinity", {})
    terms = rules.get("requiredDuringSchedulingIgnoredDuringExecution", ())
    return any(names.LABEL_STAGE not in str(term.get("labelSelector")) for term in terms)


def _idle(pod: Object) -> bool:
    """Whether it uses none of its node's cores, for nobody knows how long. After a success it goes at once."""
    return _not_started(pod) or bool(_sidecar(pod, _label(pod, names.LABEL_STAGE)) and _success([pod])[0] is None)


def _not_started(pod: Object) -> bool:
    """Whether a container waits for what somebody must mend: an image, a Secret."""
    status = pod.get("status", {})
    containers = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    reasons = [container.get("state", {}).get("waiting", {}).get("reason") for container in containers]
    return any(reason and reason not in _WAITING_FOR_OTHERS for reason in reasons)


def _explain_waiting(waiting: Object, container: Object, pod: Object) -> tuple[str, str, str]:
    reason, message = waiting["reason"], waiting.get("message") or ""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
        text = f"image {container.get('image')} cannot be pulled: {message}"
        hint = (
            "Check that the registry has this image and lets the nodes pull it: runtimeImages in the chart's values. The Secrets "
            f"of runtimeImages.pullSecrets must exist in namespace {namespace}. It goes on by itself then."
        )
        return "ImagePullFailed", text[:1024], hint
    if reason in ("CreateContainerConfigError", "CreateContainerError"):
        text = f"container {container['name']} cannot be created: {message}"
        hint = (
            f"Create what the message names in namespace {namespace}, for example the Secret of spec.source.secretRef. The pod "
            "starts by itself then."
        )
        return reason, text[:1024], hint
    hint = f"Read the pod's events: kubectl -n {namespace} describe pod {name}"
    return reason, f"container {container['name']} waits: {message}"[:1024], hint


def _memory_limit(pod: Object, container: str) -> str | None:
    spec = pod.get("spec", {})
    for item in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        if item["name"] == container:
            limit: str | None = item.get("resources", {}).get("limits", {}).get("memory")
            return limit
    return None


def _pod_time(pod: Object) -> str:
    conditions = pod.get("status", {}).get("conditions", ())
    return max((c.get("lastTransitionTime") or "" for c in conditions), default="")


def _label(item: Object, label: str) -> str:
    value: str = item["metadata"].get("labels", {}).get(label, "")
    return value


def _by_label(items: Iterable[Object], label: str) -> dict[str, list[Object]]:
    out: dict[str, list[Object]] = {}
    for item in items:
        out.setdefault(_label(item, label), []).append(item)
    return out


def _by_owner(items: Iterable[Object]) -> dict[str, list[Object]]:
    """By the owner's uid: a Job that was deleted and made again has the old one's name, and none of its pods."""
    out: dict[str, list[Object]] = {}
    for item in items:
        for owner in item["metadata"].get("ownerReferences", ()):
            out.setdefault(owner["uid"], []).append(item)
    return out


def _owned(item: Object, uid: str) -> bool:
    return any(owner["uid"] == uid for owner in item["metadata"].get("ownerReferences", ()))


def _deleting(item: Object) -> bool:
    return "deletionTimestamp" in item["metadata"]


def parse_time(text: str | None) -> datetime | None:
    """A Kubernetes time, or None where there is none."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
