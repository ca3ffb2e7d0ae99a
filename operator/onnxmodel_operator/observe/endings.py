"""Explain how containers ended, and read the outcome of a stage from its pods."""

import re
import signal
from dataclasses import replace

from onnxmodel_operator.observe import tritonlog
from onnxmodel_operator.observe.objects import Object, container_statuses
from onnxmodel_operator.observe.values import AS_JOBS, AS_SERVER, SETTINGS, Ended
from onnxmodel_runtime.contract.codec import ContractError
from onnxmodel_runtime.contract.outcome import CRASHES, ExitCode, Failure, Outcome, decode, encode, killed_by
from onnxmodel_runtime.contract.stages import MOVING, PUSH
from onnxmodel_runtime.contract.store import PushResult

_SIGNALS = {killed_by(number): number.name for number in CRASHES}
_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_KILLED = killed_by(signal.SIGKILL)


def outcome_of(pods: list[Object]) -> tuple[Outcome | None, str | None]:
    """Return the outcome of a stage that succeeded, decoded and encoded. (None, None) if it cannot be read.

    If the pod has a container that stores what the stage made, it must have succeeded too.
    """
    for pod in pods:
        for status in _stage_statuses(pod):
            end = status.get("state", {}).get("terminated") or {}
            if end.get("exitCode") == ExitCode.OK:
                try:
                    return _with_images(decode(end.get("message", "")), end["message"], pod)
                except ContractError:
                    continue
    return None, None


def _with_images(outcome: Outcome, message: str, pod: Object) -> tuple[Outcome, str]:
    """The outcome of a stage with the images that `push` left of it: a stage, which parses a model, has no say in them."""
    images = _images(pod)
    if outcome.images == images:
        return outcome, message
    outcome = replace(outcome, images=images)
    try:
        return outcome, encode(outcome)
    except ContractError:  # it does not fit: servers pull
        outcome = replace(outcome, images={})
        return outcome, encode(outcome)


def _images(pod: Object) -> dict[str, str]:
    for container in pod.get("status", {}).get("containerStatuses", ()):
        if container["name"] == PUSH:
            try:
                end = decode((container.get("state", {}).get("terminated") or {}).get("message") or "")
            except ContractError:
                return {}
            if isinstance(end.result, PushResult):
                return {name: digest for name, digest in end.result.images.items() if _DIGEST.fullmatch(digest)}
    return {}


def _stage_statuses(pod: Object) -> tuple[Object, ...]:
    """The status of each container that may be the stage's: init containers are, if the main one stores what they made."""
    status = pod.get("status", {})
    main: tuple[Object, ...] = tuple(status.get("containerStatuses", ()))
    push = next((container for container in main if container["name"] == PUSH), None)
    if push is None:
        return main
    stored = (push.get("state", {}).get("terminated") or {}).get("exitCode") == ExitCode.OK
    return tuple(c for c in status.get("initContainerStatuses", ()) if stored and c["name"] not in MOVING)


def sidecar_of(pod: Object, stage: str) -> str:
    """Return the name of an injected container that outlives the stage's own. "" if there is none."""
    containers = pod.get("status", {}).get("containerStatuses", ())
    own = (stage, PUSH)
    if not any(c["name"] in own and "terminated" in c.get("state", {}) for c in containers):
        return ""
    return next((c["name"] for c in containers if c["name"] not in own and "running" in c.get("state", {})), "")


def ending_of(pod: Object) -> Ended | None:
    """Return how the pod's failed container ended, now or before its last restart. None if none failed.

    Init containers come first.
    """
    status = pod.get("status", {})
    for container in container_statuses(pod):
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
            hint = f"Raise jobs.attemptSeconds {SETTINGS}, or give the stage more CPU (spec.serving.resources)."
        return Ended(Failure(reason, message, hint), None, _pod_time(pod), terminal=False)
    return None


def _disrupted(pod: Object) -> bool:
    """Return whether the pod was evicted or preempted, or lost its node: its ending does not implicate the model."""
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
    if code == _KILLED and end.get("reason") != "OOMKilled":
        failure = Failure(
            "Killed",
            f"container {container} was killed (SIGKILL) from outside: by the node, or because it did not "
            "start or respond in time",
            f"The pod's events say what killed it: kubectl -n {namespace} describe pod {name}",
        )
        return Ended(failure, code, time, terminal=False)
    if end.get("reason") == "OOMKilled":
        memory_limit = _memory_limit(pod, container)
        limit = f" (limit {memory_limit})" if memory_limit else ""
        failure = Failure(
            "OutOfMemory",
            f"container {container} was killed because it exceeded its memory limit{limit}",
            f"Raise spec.serving.resources.limits.memory ({', '.join(AS_SERVER)}, server) or jobs.resources "
            f"{SETTINGS} ({', '.join(AS_JOBS)}), lower spec.serving.batching.maxBatchSize (a "
            "server runs that many rows at startup), or use a smaller or quantized model.",
        )
        return Ended(failure, code, time, terminal=True)
    if code in _SIGNALS:
        failure = Failure(
            "NativeCrash",
            f"container {container} was terminated by {_SIGNALS[code]}: the model crashes the native runtime",
            "Export the model with a current exporter. If it still crashes, report the model to ONNX Runtime.",
        )
        return Ended(failure, code, time, terminal=True)
    if said := tritonlog.failure(end.get("message") or ""):
        return Ended(said[0], code, time, terminal=said[1])
    log = (end.get("message") or "").strip().splitlines()
    message = f"container {container} exited with code {code}" + (f": {log[-1]}" if log else "")
    hint = f"Read the container's log: kubectl -n {namespace} logs {name} -c {container}"
    return Ended(Failure("UnexpectedExit", message[:1024], hint), code, time, terminal=False)


def ending_of_job(job: Object, condition: Object, last: Ended | None) -> Ended:
    """Return why a Job gave up: the reason of its last attempt, with a message that there are no more retries."""
    time = condition.get("lastTransitionTime") or ""
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    if last is None:
        reason, message = condition.get("reason") or "JobFailed", condition.get("message") or "the Job failed"
        hint = f"Read the Job's events: kubectl -n {namespace} describe job {name}"
        return Ended(Failure(reason, message, hint), None, time, terminal=True)
    failure = Failure(
        last.failure.reason,
        f"{last.failure.message} (every attempt failed; there are no more retries)",
        last.failure.hint,
        last.failure.field,
    )
    return Ended(failure, last.exit_code, last.time, terminal=True)


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
