"""Read Jobs and Deployments with their pods."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from onnxmodel_operator import names
from onnxmodel_operator.observe.endings import ending_of, ending_of_job, outcome_of, sidecar_of
from onnxmodel_operator.observe.objects import Object, label
from onnxmodel_operator.observe.values import JobSeen, RevisionSeen, Snapshot, Waiting
from onnxmodel_operator.observe.waiting import suspended, waiting_of
from onnxmodel_operator.observe.warnings import hint_for
from onnxmodel_operator.times import parse_time
from onnxmodel_runtime.contract.outcome import Failure


def read_job(job: Object, pods: list[Object], snapshot: Snapshot) -> JobSeen:
    """Read the Job of a stage. pods: the Job's own, including those that are being deleted."""
    status = job.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", ()) if c["status"] == "True"}
    # FailureTarget and SuccessCriteriaMet come first and stay: the pods' messages are final then, the Job's end is not.
    state = "Succeeded" if "Complete" in conditions else "Failed" if "Failed" in conditions else "Running"
    stage = label(job, names.LABEL_STAGE)
    sidecar = next((name for pod in pods if (name := sidecar_of(pod, stage))), "")
    outcome, message = outcome_of(pods) if state == "Succeeded" or sidecar else (None, None)
    ends = [end for pod in pods if (end := ending_of(pod))]
    ended = max(ends, key=lambda end: end.time, default=None)
    if state == "Failed" and (ended is None or conditions["Failed"].get("reason") == "BackoffLimitExceeded"):
        ended = ending_of_job(job, conditions["Failed"], ended)
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
        waiting=suspended(job) or _waiting(job, pods, snapshot),
        pods=len(pods),
        quiet=names.ANNOTATION_QUIET in job["metadata"].get("annotations", {}),
        kept_alive_by=sidecar,
    )


def _waiting(job: Object, pods: list[Object], snapshot: Snapshot) -> Waiting | None:
    if not pods:
        return _no_pod(job, job.get("status", {}))
    return next((w for pod in pods if (w := waiting_of(pod, snapshot.claims, snapshot.busy))), None)


_AT_ONCE = timedelta(seconds=5)


def _began(job: Object) -> str | None:
    """Return when the stage began: when its Job was created, or later if a queue such as Kueue kept it suspended."""
    made: str | None = job["metadata"].get("creationTimestamp")
    started: str | None = job.get("status", {}).get("startTime")
    at, since = parse_time(started), parse_time(made)
    return started if at and since and at - since > _AT_ONCE else made or started


def _no_pod(job: Object, status: Object) -> Waiting | None:
    """Explain why a started Job has no pod: a quota or an admission rule refuses it, and only events name which."""
    if not status.get("startTime"):
        return None
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    failure = Failure(
        "NoPod",
        f"Job {name} has no pod",
        f"A quota or an admission rule rejects it. Read the Job's events: kubectl -n {namespace} describe job {name}",
    )
    return Waiting(failure, parse_time(status["startTime"]), normal_seconds=10, about=job["metadata"]["uid"])


def _refused(status: Object) -> Waiting | None:
    """Return why the ReplicaSet controller cannot create pods, as it reports itself."""
    for condition in status.get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message = f"the server's pods cannot be created: {condition.get('message', '')}"
            hint = hint_for(message) or "Change what the message names: a quota or an admission rule rejects the pods."
            return Waiting(
                Failure("PodsRefused", message[:1024], hint), parse_time(condition.get("lastTransitionTime"))
            )
    return None


def read_revision(deployment: Object, pods: list[Object], claims: Iterable[Object]) -> RevisionSeen:
    """Read a Deployment. pods: the revision's, without those that are being deleted. claims: of the model."""
    metadata, status = deployment["metadata"], deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    available = status.get("availableReplicas", 0)
    observed = status.get("observedGeneration", 0) >= metadata["generation"]
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    conditions = {condition["type"]: condition for condition in status.get("conditions", ())}
    progressing, enough = conditions.get("Progressing"), conditions.get("Available")
    return RevisionSeen(
        name=metadata["name"],
        revision=label(deployment, names.LABEL_REVISION),
        wanted=wanted,
        ready=status.get("readyReplicas", 0),
        available=available,
        complete=observed and updated == total == available == wanted,
        overdue=bool(progressing and progressing.get("reason") == "ProgressDeadlineExceeded"),
        ended=max((end for pod in pods if (end := ending_of(pod))), key=lambda end: end.time, default=None),
        waiting=next((w for pod in pods if (w := waiting_of(pod, claims))), None) or _refused(status),
        runtime=label(deployment, names.LABEL_RUNTIME) or "onnxruntime",
        unavailable_since=parse_time(enough.get("lastTransitionTime"))
        if enough and enough["status"] == "False"
        else None,
        available_since=_available_since(metadata, enough),
    )


def _available_since(metadata: Object, enough: Object | None) -> datetime | None:
    """Return since when enough pods have been available. Kubernetes says it; where it does not, since there were any."""
    if enough and enough["status"] != "True":
        return None
    return parse_time((enough or {}).get("lastTransitionTime")) or parse_time(metadata.get("creationTimestamp"))
