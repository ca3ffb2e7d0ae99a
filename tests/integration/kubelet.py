"""Plays the kubelet for pods that never run: writes the status that a real one would."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dev.kube import Kube, until
from dev.results import good
from onnxmodel_operator import names
from onnxmodel_runtime.contract.outcome import Failure, Outcome, encode
from tests.stages import SERVED, UNSERVED


class Kubelet:
    """Pods of one namespace."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube

    def pods(self, label: str, value: str, phase: str = "Pending") -> list[dict[str, Any]]:
        """Our pods in a phase."""
        return [p for p in self.kube.list("pods", f"{label}={value}") if p["status"]["phase"] == phase]

    def job(self, model: str, stage: str) -> dict[str, Any] | None:
        """The model's Job of a stage."""
        selector = f"{names.LABEL_MODEL}={model},{names.LABEL_STAGE}={stage}"
        return next(iter(self.kube.list("jobs", selector)), None)

    def succeed(self, model: str, stage: str, result: Any = None) -> None:
        """Wait for the stage's pod, and let it end well."""
        job = until(f"a Job for {stage}", lambda: self.job(model, stage))
        pod = self._pending(job)
        message = encode(Outcome(stage, 1.0, result or good(job)))
        self._status(pod, ended(pod, stage, 0, message))
        until(
            f"{stage} is over",
            lambda: not (j := self.job(model, stage)) or j["status"].get("completionTime"),
        )

    def fail(
        self, model: str, stage: str, code: int, failure: Failure | None = None, *, fetch: bool = False, **end: Any
    ) -> None:
        """Wait for the stage's pod, and let its container (or the fetch) end with this code."""
        job = until(f"a Job for {stage}", lambda: self.job(model, stage))
        pod = self._pending(job)
        container = "fetch" if fetch else stage
        message = encode(Outcome(container, 0.5, failure=failure)) if failure else ""
        self._status(pod, ended(pod, container, code, message, init=fetch, **end))

    def waits(self, model: str, stage: str, reason: str, message: str) -> None:
        """The stage's pod waits with this reason."""
        job = until(f"a Job for {stage}", lambda: self.job(model, stage))
        pod = self._pending(job)
        state = {"waiting": {"reason": reason, "message": message}}
        self._status(pod, {"phase": "Pending", "containerStatuses": [_container(stage, state)]})

    def available(self, model: str) -> None:
        """Every pending server pod of the model becomes ready."""
        for pod in until("server pods", lambda: self._pending_servers(model)):
            self._status(pod, serves())

    def _pending_servers(self, model: str) -> list[dict[str, Any]]:
        """Those that wait, once each replica has its pod: one that comes a moment later would wait for ever."""
        deployments = self.kube.list("deployments", f"{names.LABEL_MODEL}={model}")
        pods = self.kube.list("pods", f"{names.LABEL_MODEL}={model},{names.LABEL_REVISION}")
        there = len(pods) >= sum(deployment["spec"]["replicas"] for deployment in deployments)
        return [pod for pod in pods if pod["status"]["phase"] == "Pending"] if there else []

    def die(self, model: str) -> None:
        """Every server pod of the model is gone at once."""
        pods = self.kube.list("pods", f"{names.LABEL_MODEL}={model},{names.LABEL_REVISION}")
        self.kube.run("delete", "pod", "--grace-period=0", "--force", *(p["metadata"]["name"] for p in pods))

    def live(self, model: str) -> None:
        """All stages succeed, and the server becomes available when it is asked."""
        for stage in UNSERVED:
            self.succeed(model, stage)
        self.available(model)
        for stage in SERVED:
            self.succeed(model, stage)

    def _pending(self, job: dict[str, Any]) -> dict[str, Any]:
        name = job["metadata"]["name"]
        return until(f"a pod of {name}", lambda: next(iter(self.pods("batch.kubernetes.io/job-name", name)), None))

    def _status(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        self.kube.patch("pod", pod["metadata"]["name"], {"status": status}, subresource="status")


def ended(
    pod: Mapping[str, Any], container: str, code: int, message: str, *, init: bool = False, **end: Any
) -> dict[str, Any]:
    """The status of a pod whose container ended with this code and this termination message."""
    now = _now()
    terminated = {
        "exitCode": code,
        "message": message,
        "startedAt": now,
        "finishedAt": now,
        "reason": "Error",
        **end,
    }
    sidecars = [item["name"] for item in pod["spec"]["containers"][1:]]  # what a webhook injected runs on
    statuses = [_container(name, {"running": {"startedAt": now}}) for name in sidecars]
    statuses += [_container(container, {"terminated": terminated})]
    key = "initContainerStatuses" if init else "containerStatuses"
    phase = "Running" if sidecars else "Failed" if code else "Succeeded"
    return {"phase": phase, key: statuses, "startTime": now}


def serves() -> dict[str, Any]:
    """The status of a server's pod that is ready."""
    now = _now()
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now}
        for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ]
    container = _container("server", {"running": {"startedAt": now}}) | {"ready": True, "started": True}
    return {"phase": "Running", "conditions": conditions, "containerStatuses": [container], "startTime": now}


def _container(name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "image": "i", "imageID": "i", "ready": False, "restartCount": 0, "state": state}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
