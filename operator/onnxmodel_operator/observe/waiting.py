"""Explain why a pod does not run yet: no node, no image, or another pod's turn."""

import re
from collections.abc import Iterable

from onnxmodel_operator import names
from onnxmodel_operator.observe.endings import outcome_of, sidecar_of
from onnxmodel_operator.observe.objects import Object, container_statuses, is_deleting, label
from onnxmodel_operator.observe.values import MEASURING, SETTINGS, WORKING, Waiting
from onnxmodel_operator.times import parse_time
from onnxmodel_runtime.contract.outcome import Failure

_STARTS = ("ContainerCreating", "PodInitializing")
"""Reasons of a waiting container that are no error."""
_NOT_TROUBLES = (*_STARTS, "CrashLoopBackOff", "")
"""Reasons that are not why a pod waits: after a crash, how the container ended says more."""
_NAMED = 3
_BY_DIGEST = re.compile(r'image "?([^\s"]+@(sha256:[0-9a-f]{64}))')
_NO_ROOM = ("Insufficient ", "cannot allocate all claims", "Too many pods")
"""Words of the scheduler about nodes that other pods have filled."""


def works_on_a_node(pod: Object) -> bool:
    """Return whether the pod of a stage occupies a node.

    Pods of a probe do not count: a probe is a single inference.
    """
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return label(pod, names.LABEL_STAGE) in WORKING and bool(pod.get("spec", {}).get("nodeName")) and not ended


def reports(pod: Object) -> bool:
    """Return whether the pod is a server of a revision that has metrics. One that is being deleted still answers."""
    status = pod.get("status", {})
    serves = label(pod, names.LABEL_REVISION) and not label(pod, names.LABEL_STAGE)
    return bool(serves and status.get("phase") == "Running" and status.get("podIP"))


def suspended(job: Object) -> Waiting | None:
    """Explain that somebody suspended the Job: a queue that admits it when there is quota. None if nobody did."""
    if not job.get("spec", {}).get("suspend"):
        return None
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    queue = label(job, names.LABEL_QUEUE)
    failure = Failure(
        "WaitingForQuota",
        f"Job {name} is suspended" + (f" until queue {queue} admits it" if queue else ""),
        f"No action needed if a queue holds it; Kueue says why: kubectl -n {namespace} describe workloads. Otherwise "
        f'resume it: kubectl -n {namespace} patch job {name} -p \'{{"spec":{{"suspend":false}}}}\'',
    )
    return Waiting(failure, None, queued=True)


def waiting_of(pod: Object, claims: Iterable[Object], busy: Iterable[Object] = ()) -> Waiting | None:
    """Return why the pod does not run. None if it runs, has ended or is being deleted.

    claims: of its model. busy: the pods of stages that are on a node.
    """
    status = pod.get("status", {})
    if status.get("phase") not in (None, "Pending", "Running") or is_deleting(pod):
        return None
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _without_node(pod, condition, claims, busy)
    if _without_claims(pod):
        return _unclaimed(pod)
    for container in container_statuses(pod):
        waiting = container.get("state", {}).get("waiting") or {}
        if (waiting.get("reason") or "") not in _NOT_TROUBLES:
            failure = Failure(*_explain_waiting(waiting, container, pod))
            return Waiting(failure, parse_time(status.get("startTime") or pod["metadata"].get("creationTimestamp")))
    return _not_begun(pod)


def _without_node(pod: Object, condition: Object, claims: Iterable[Object], busy: Iterable[Object]) -> Waiting:
    since = parse_time(condition.get("lastTransitionTime"))
    if queued := _queued(pod, condition.get("message", ""), busy):
        return Waiting(queued, since, queued=True)
    reason = condition.get("reason") or "Unschedulable"
    failure = Failure(
        reason,
        f"pod {pod['metadata']['name']} is not scheduled: {condition.get('message', '')}",
        "Add a node to the pool or free resources on one, so that it can run the pod; or change "
        "spec.serving.nodePool, gpus or resources.",
    )
    # Whoever set the gate will lift it. A pod whose volume cannot be provisioned has no node, and its claim says why.
    unbound = next((c["metadata"]["uid"] for c in claims if c.get("status", {}).get("phase") == "Pending"), "")
    no_room = reason == "Unschedulable" and any(words in condition.get("message", "") for words in _NO_ROOM)
    return Waiting(failure, since, queued=reason == "SchedulingGated", about=unbound, no_room=no_room)


def _without_claims(pod: Object) -> bool:
    """Return whether the scheduler has yet to look at a pod with resource claims: it does so once there are claims."""
    spec, conditions = pod.get("spec", {}), pod.get("status", {}).get("conditions", ())
    placed = spec.get("nodeName") or any(condition["type"] == "PodScheduled" for condition in conditions)
    return bool(spec.get("resourceClaims")) and not placed


def _unclaimed(pod: Object) -> Waiting:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    templates = sorted(
        {name for claim in pod["spec"]["resourceClaims"] if (name := claim.get("resourceClaimTemplateName"))}
    )
    failure = Failure(
        "ResourceClaimMissing",
        f"pod {name} waits for its resource claims",
        f"Create ResourceClaimTemplate {', '.join(templates)} in namespace {namespace}, or correct "
        f"pools.*.resourceClaimTemplateName {SETTINGS}. The pod then starts by itself.",
    )
    since = parse_time(pod["metadata"].get("creationTimestamp"))
    return Waiting(failure, since, normal_seconds=5, about=pod["metadata"]["uid"])


def _not_begun(pod: Object) -> Waiting | None:
    """Explain why no container of a scheduled pod has started: an image pull, a volume or the network."""
    containers = container_statuses(pod)
    if not containers or any(set(container.get("state", {})) - {"waiting"} for container in containers):
        return None
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    failure = Failure(
        "PodNotStarted",
        f"pod {name} is scheduled, but does not start",
        f"Read the pod's events: kubectl -n {namespace} describe pod {name}",
    )
    since = parse_time(pod.get("status", {}).get("startTime"))
    return Waiting(failure, since, normal_seconds=60, about=pod["metadata"]["uid"], silent=True)


def _queued(pod: Object, message: str, busy: Iterable[Object]) -> Failure | None:
    """Explain why the scheduler excludes the nodes if the rule is our own: a measurement has its node to itself."""
    if "anti-affinity" not in message or _has_other_rules(pod):  # the scheduler's word; the rest of its sentence varies
        return None
    name, measures = pod["metadata"]["name"], label(pod, names.LABEL_STAGE) in MEASURING
    ahead = sorted(
        f"{other['metadata']['namespace']}/{other['metadata']['name']} on node {other['spec']['nodeName']}"
        for other in busy
        if measures or label(other, names.LABEL_STAGE) in MEASURING
    )
    shown = ", ".join(ahead[:_NAMED]) + (f" and {len(ahead) - _NAMED} more" if len(ahead) > _NAMED else "")
    shown = shown or f"the scheduler has yet to retry ({message})"
    if measures:
        return Failure(
            "WaitingForQuietNode",
            f"pod {name} waits with its measurement until no other stage runs on its node: {shown}"[:1024],
            "No action needed: it starts by itself. If a pod in the message hangs, delete its Job.",
        )
    return Failure(
        "WaitingForMeasurement",
        f"pod {name} waits until a measurement on the node that it needs has finished: {shown}"[:1024],
        "No action needed: it starts by itself. More nodes in the pool shorten the wait.",
    )


def _has_other_rules(pod: Object) -> bool:
    """Return whether the pool has anti-affinity of its own, so that only the scheduler knows which rule applies."""
    rules = pod.get("spec", {}).get("affinity", {}).get("podAntiAffinity", {})
    terms = rules.get("requiredDuringSchedulingIgnoredDuringExecution", ())
    return any(names.LABEL_STAGE not in str(term.get("labelSelector")) for term in terms)


def is_idle(pod: Object) -> bool:
    """Return whether a pod uses none of its node's cores for an unknown time. After a success it is removed at once."""
    return _not_started(pod) or bool(sidecar_of(pod, label(pod, names.LABEL_STAGE)) and outcome_of([pod])[0] is None)


def _not_started(pod: Object) -> bool:
    """Return whether a container waits for something that somebody must fix: an image, a Secret."""
    reasons = [container.get("state", {}).get("waiting", {}).get("reason") for container in container_statuses(pod)]
    return any(reason and reason not in _STARTS for reason in reasons)


def _explain_waiting(waiting: Object, container: Object, pod: Object) -> tuple[str, str, str]:
    reason, message = waiting["reason"], waiting.get("message") or ""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
        if mounted := _mounted_image(container.get("image") or "", message):
            hint = (
                f"Check that the registry of artifacts.oci {SETTINGS} is up, that the nodes may pull from it, and that "
                f"its Secret exists in namespace {namespace}. It then continues by itself."
            )
            return "ImagePullFailed", f"image {mounted} cannot be pulled: {message}"[:1024], hint
        text = f"image {container.get('image')} cannot be pulled: {message}"
        hint = (
            "Check that the registry has this image and that the nodes may pull it: runtimeImages in the "
            f"chart's values. The Secrets in runtimeImages.pullSecrets must exist in namespace {namespace}. "
            "It then continues by itself."
        )
        return "ImagePullFailed", text[:1024], hint
    if reason in ("CreateContainerConfigError", "CreateContainerError"):
        text = f"container {container['name']} cannot be created: {message}"
        hint = (
            f"Create what the message names in namespace {namespace}, for example the Secret of "
            "spec.source.secretRef. The pod then starts by itself."
        )
        return reason, text[:1024], hint
    hint = f"Read the pod's events: kubectl -n {namespace} describe pod {name}"
    return reason, f"container {container['name']} is waiting: {message}"[:1024], hint


def _mounted_image(image: str, message: str) -> str:
    """Return the image that the kubelet tells of if it is another than the container's: one of the pod's volumes."""
    found = _BY_DIGEST.search(message)
    return found[1] if found and not image.endswith(found[2]) else ""
