"""Builders of what the operator sees: resources, and a cluster in memory that carries out writes.

`Cluster` is no mock of Kubernetes' rules (the integration tests have a real API server for these): it stores what is
applied, gives uids and versions, and lets a test play the kubelet: finish a Job, fail it, make a Deployment available.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from dev.results import URI, good
from onnxmodel_operator import names
from onnxmodel_operator.cluster.cache import Cache, Key
from onnxmodel_operator.cluster.errors import ApiError, StaleError
from onnxmodel_operator.cluster.kinds import BY_NAME, MODEL
from onnxmodel_operator.controller.reconcile import Reconciled, reconcile
from onnxmodel_operator.controller.telemetry import Telemetry
from onnxmodel_operator.drift import needs_apply
from onnxmodel_operator.events.values import About, ModelEvent
from onnxmodel_operator.observe import Warned
from onnxmodel_operator.platform import settings
from onnxmodel_runtime.contract.outcome import Failure, Outcome, encode
from onnxmodel_runtime.contract.stages import FETCH, PULL, PUSH, Stage
from onnxmodel_runtime.contract.store import PushResult
from onnxmodel_runtime.contract.validate import Finding

START = datetime(2026, 1, 1, tzinfo=UTC)

SETTINGS = settings.parse(
    {
        "images": {"runtimeCpu": "runtime:cpu", "runtimeGpu": "runtime:gpu", "triton": "triton:1"},
        "prometheus": {"address": "http://prometheus:9090"},
        "pools": {
            "default": {},
            "a100": {
                "nodeSelector": {"pool": "a100"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                "gpuResource": "nvidia.com/gpu",
                "executionProviders": ["TensorRT", "CUDA", "CPU"],
            },
        },
    }
)


def body(name: str = "magika", *, namespace: str = "team-a", generation: int = 1, **spec: Any) -> dict[str, Any]:
    """An OnnxModel as the API server gives it. spec: camelCase fields besides the source."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "generation": generation,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"source": {"uri": URI}, **spec},
        "status": {"observedGeneration": -1},
    }


def item(name: str, *, version: int = 1, uid: str | None = None, model: str = "m") -> dict[str, Any]:
    """An object of a model as a list or a watch tells of it."""
    metadata = {
        "name": name, "namespace": "n", "uid": uid or f"uid-{name}", "resourceVersion": str(version),
        "labels": {names.LABEL_MODEL: model}, "managedFields": [{"big": "noise"}],
    }  # fmt: skip
    return {"metadata": metadata}


def watched(item: Mapping[str, Any]) -> bool:
    """Whether a watch tells of it: the selector of children asks for our label."""
    ours = item["metadata"].get("labels", {}).get(names.MANAGED_BY) == names.MANAGER
    return ours or bool(item["kind"] == MODEL.name)


class Killed(BaseException):
    """The operator was killed at this moment."""


class Cluster:
    """A cluster in memory, and the operator's work on it."""

    def __init__(self, *models: dict[str, Any], platform: settings.Settings = SETTINGS) -> None:
        self.settings = platform
        self.refuses: dict[str, ApiError] = {}
        """kind -> what the API server answers to every apply and deletion of it."""
        self.webhook: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda manifest: manifest
        """A mutating admission webhook: what it makes of each child."""
        self.told: dict[tuple[str, str, str], dict[str, Any]]
        """What the operator has seen."""
        self.restart()
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.events: list[tuple[str, Warned]] = []
        self.announced: list[ModelEvent] = []
        """Events about models, in order."""
        self.now = START
        self.kill_at: int | None = None
        """Die at this write (0 is the next): after it where `write_lands`, else before it."""
        self.write_lands = True
        self._versions = itertools.count(10)
        self._made: Counter[tuple[str, str, str]] = Counter()
        for model in models:
            self._store(model)

    # ---- the operator's side -----------------------------------------------------------------------------------------

    def step(self, name: str = "magika", *, namespace: str = "team-a", failures: int = 0) -> Reconciled:
        """One reconcile with everything in view. What the operator remembers of the last one it keeps, unless it was killed."""
        there = {key: item for key, item in self.objects.items() if key[0] in BY_NAME and watched(item)}
        for key, item in self.told.items():
            if key not in there or there[key]["metadata"]["uid"] != item["metadata"]["uid"]:
                self.cache.drop(BY_NAME[key[0]], self.deleted(item))
        for key, item in there.items():
            if self.told.get(key) is not item:
                self.cache.put(BY_NAME[key[0]], item)
        self.told = there
        try:
            return asyncio.run(self.reconcile((namespace, name), failures))
        except Killed:
            self.restart()
            raise

    async def reconcile(self, key: Key, failures: int = 0) -> Reconciled:
        """One, with what the operator knows by now."""
        return await reconcile(
            key, self.cache, self.telemetry, self.settings, self, self.now, failures, told=self.announce
        )

    def announce(self, about: About, events: tuple[ModelEvent, ...]) -> None:
        """Note the Events that the operator would write."""
        self.announced += events

    def restart(self) -> None:
        """The operator begins anew, and remembers nothing."""
        self.cache, self.telemetry = Cache(), Telemetry()
        self.told = {}

    def deleted(self, item: dict[str, Any]) -> dict[str, Any]:
        """As its last event tells of it: with the version of the deletion."""
        return {**item, "metadata": {**item["metadata"], "resourceVersion": str(next(self._versions))}}

    def settle(self, name: str = "magika", *, most: int = 10) -> list[tuple[str, str, str]]:
        """Reconcile until nothing is written. Returns all that was written.

        A livelock is an error, and so is a write of a reconcile that the one before did not ask for: nobody else would.
        """
        start, due = len(self.writes), True
        for _ in range(most):
            before = len(self.writes)
            outcome = self.step(name)
            if len(self.writes) == before:
                return self.writes[start:]
            assert due, f"nothing asked for {self.writes[before:]}"
            due = outcome.wrote
        raise AssertionError(f"writes did not end: {self.writes[start:]}")

    async def apply(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Store the child. The API server's defaults and status of an existing one stay. Returns it."""
        metadata = manifest["metadata"]
        key = (manifest["kind"], metadata["namespace"], metadata["name"])
        live = self.objects.get(key)
        assert needs_apply(manifest, live), f"{key} was applied although it is as it should be"
        item = {**self.webhook(manifest), "status": live["status"] if live else {}}
        generation = live["metadata"]["generation"] + (item.get("spec") != live.get("spec")) if live else 1
        item["metadata"] = {
            **item["metadata"],
            "uid": live["metadata"]["uid"] if live else f"uid-{key[0]}-{key[2]}-{self._made[key]}",
            "generation": generation,
            "creationTimestamp": live["metadata"]["creationTimestamp"] if live else _time(self.now),
            "managedFields": [{"manager": names.MANAGER, "operation": "Apply", "time": _time(self.now)}],
        }
        if key[0] in self.refuses:
            raise self.refuses[key[0]]
        with self._write("apply", key):
            self._store(item)
            self._made[key] += live is None
        return self.objects[key]

    async def create(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Store a child that is not there."""
        metadata = manifest["metadata"]
        if (manifest["kind"], metadata["namespace"], metadata["name"]) in self.objects:
            raise StaleError(409, "the object has been modified")
        return await self.apply(manifest)

    async def get(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Any object, also one that the operator's cache would not hold."""
        return self.objects.get((kind, namespace, name))

    async def model(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """A model, as it is now."""
        return self.objects.get((MODEL.name, namespace, name))

    async def warnings(self, namespace: str, uid: str) -> tuple[Warned, ...]:
        """Events that `warn` made."""
        return tuple(event for where, event in reversed(self.events) if where == uid)

    async def pods(self, namespace: str, job: str) -> list[Mapping[str, Any]]:
        """The pods of a Job."""
        at = "batch.kubernetes.io/job-name"
        return [v for k, v in self.objects.items() if k[0] == "Pod" and v["metadata"]["labels"].get(at) == job]

    async def apply_status(
        self, namespace: str, name: str, version: str, status: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Store the status of a model that is as the operator knows it. Returns the model."""
        key = ("OnnxModel", namespace, name)
        if self.objects[key]["metadata"]["resourceVersion"] != version:
            raise StaleError(409, "the object has been modified")
        assert self.objects[key]["status"] != status, "an equal status was written"
        with self._write("status", key):
            self._store({**self.objects[key], "status": dict(status)})
        return self.objects[key]

    async def delete(self, kind: str, item: Mapping[str, Any]) -> None:
        """Remove a child that is as the operator knows it, and the pods that it owns."""
        if kind in self.refuses:
            raise self.refuses[kind]
        key = (kind, item["metadata"]["namespace"], item["metadata"]["name"])
        live = self.objects.get(key, item)
        for precondition in ("uid", "resourceVersion"):
            if live["metadata"][precondition] != item["metadata"][precondition]:
                raise StaleError(409, f"the {precondition} in the precondition is another one")
        with self._write("delete", key):
            if self.objects.pop(key, None):
                owned = [k for k, v in self.objects.items() if k[0] == "Pod" and v["owner"] == item["metadata"]["uid"]]
                for key in owned:
                    del self.objects[key]

    @contextmanager
    def _write(self, verb: str, key: tuple[str, str, str]) -> Iterator[None]:
        dies = self.kill_at == 0
        self.kill_at = self.kill_at - 1 if self.kill_at else None
        if dies and not self.write_lands:
            raise Killed
        self.writes.append((verb, key[0], key[2]))
        yield
        if dies:
            raise Killed

    def _store(self, item: dict[str, Any]) -> None:
        item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(next(self._versions))}}
        self.objects[item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]] = item

    # ---- the kubelet's and the users' side ---------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Let the clock go on."""
        self.now += timedelta(seconds=seconds)

    def edit(self, name: str = "magika", *, namespace: str = "team-a", **spec: Any) -> None:
        """A user changes fields of the spec."""
        key = (MODEL.name, namespace, name)
        model = self.objects[key]
        metadata = {**model["metadata"], "generation": model["metadata"]["generation"] + 1}
        self._store({**model, "metadata": metadata, "spec": {**model["spec"], **spec}})

    def warn(self, item: Mapping[str, Any], *, reason: str, message: str) -> None:
        """Kubernetes writes a warning event about an object."""
        self.events.append((item["metadata"]["uid"], Warned(reason, message, self.now)))

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Jobs by stage."""
        return {v["metadata"]["labels"][names.LABEL_STAGE]: v for k, v in self.objects.items() if k[0] == "Job"}

    def pod(
        self,
        owner: dict[str, Any],
        *,
        phase: str = "Running",
        container: str = "server",
        state: dict[str, Any] | None = None,
        conditions: list[dict[str, Any]] | None = None,
        init: bool = False,
        spec: dict[str, Any] | None = None,
        **status: Any,
    ) -> dict[str, Any]:
        """A pod of a Job or Deployment. state: of its container, as in containerStatuses."""
        number = next(self._versions)
        labels = dict(owner["spec"]["template"]["metadata"]["labels"])
        if owner["kind"] == "Job":
            labels["batch.kubernetes.io/job-name"] = owner["metadata"]["name"]
        statuses = [{"name": container, "image": "runtime:cpu", "state": state or {"running": {}}}]
        item = {
            "kind": "Pod",
            "owner": owner["metadata"]["uid"],
            "metadata": {
                "name": f"{owner['metadata']['name']}-{number}",
                "namespace": owner["metadata"]["namespace"],
                "uid": f"uid-{number}",
                "labels": labels,
                "ownerReferences": [{"kind": owner["kind"], "uid": owner["metadata"]["uid"]}],
                "creationTimestamp": _time(self.now),
            },
            "spec": spec or {},
            "status": {
                "phase": phase,
                "startTime": _time(self.now),
                "conditions": conditions or [],
                ("initContainerStatuses" if init else "containerStatuses"): statuses,
                **status,
            },
        }
        self._store(item)
        return item

    @staticmethod
    def pushes(job: Mapping[str, Any]) -> bool:
        """Return whether the stage's artifacts go into a bucket, after the stage."""
        return any(container["name"] == PUSH for container in job["spec"]["template"]["spec"]["containers"])

    def succeed(
        self, stage: str, *, result: Any = None, message: str | None = None, images: dict[str, str] | None = None
    ) -> None:
        """The stage's Job completes with this result (a good one by default). images: that `push` made of it."""
        job = self.jobs()[stage]
        text = message if message is not None else encode(Outcome(stage, 1.5, result or good(job)))
        end = {"exitCode": 0, "message": text, "finishedAt": _time(self.now)}
        if self.pushes(job):
            pushed = {
                "exitCode": 0,
                "message": encode(Outcome(PUSH, 0.1, PushResult(images) if images else None)),
                "finishedAt": _time(self.now),
            }
            main = [{"name": PUSH, "image": "runtime:cpu", "state": {"terminated": pushed}}]
            ended = {"terminated": end}
            self.pod(job, phase="Succeeded", container=stage, init=True, state=ended, containerStatuses=main)
        else:
            self.pod(job, phase="Succeeded", container=stage, state={"terminated": end})
        self._finish(job, "Complete", "CompletionsReached")

    def attempt_fails(
        self,
        stage: str,
        code: int,
        *,
        failure: Failure | None = None,
        message: str = "",
        container: str = "",
        findings: tuple[Finding, ...] = (),
        **end: Any,
    ) -> None:
        """One pod of the stage's Job ends with this exit code; the Job goes on."""
        job = self.jobs()[stage]
        outcome = Outcome(container or stage, 0.5, failure=failure, findings=findings)
        text = encode(outcome) if failure else message
        terminated = {"exitCode": code, "message": text, "finishedAt": _time(self.now), **end}
        self.pod(
            job,
            phase="Failed",
            container=container or stage,
            init=container in (FETCH, PULL) or (container != PUSH and self.pushes(job)),
            state={"terminated": terminated},
        )
        status = {**job["status"], "failed": job["status"].get("failed", 0) + 1}
        self._store({**job, "status": status})

    def fail(
        self, stage: str, code: int, *, failure: Failure | None = None, reason: str = "PodFailurePolicy", **end: Any
    ) -> None:
        """The stage's Job fails for good."""
        self.attempt_fails(stage, code, failure=failure, **end)
        self._finish(self.jobs()[stage], "Failed", reason)

    def _finish(self, job: dict[str, Any], kind: str, reason: str) -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": _time(self.now)}
        status = {**job["status"], "startTime": _time(START), "conditions": [condition]}
        if kind == "Complete":
            status["completionTime"] = _time(self.now)
        self._store({**job, "status": status})

    def deployments(self) -> list[dict[str, Any]]:
        """Deployments, oldest first."""
        return [v for k, v in self.objects.items() if k[0] == "Deployment"]

    def available(
        self, deployment: dict[str, Any] | None = None, *, replicas: int | None = None, **status: Any
    ) -> None:
        """The Deployment (the newest by default) has this many available replicas, all that it wants by default.

        Unless told otherwise, they have been available for a minute.
        """
        item = self.objects["Deployment", "team-a", (deployment or self.deployments()[-1])["metadata"]["name"]]
        wanted = item["spec"]["replicas"]
        count = wanted if replicas is None else replicas
        numbers: dict[str, Any] = {
            "observedGeneration": item["metadata"]["generation"],
            "replicas": wanted,
            "updatedReplicas": wanted,
            "readyReplicas": count,
            "availableReplicas": count,
        }
        if count:
            since = _time(self.now - timedelta(minutes=1))
            numbers["conditions"] = [{"type": "Available", "status": "True", "lastTransitionTime": since}]
        self._store({**item, "status": {**numbers, **status}})

    def status(self, name: str = "magika") -> dict[str, Any]:
        """The model's status."""
        found: dict[str, Any] = self.objects["OnnxModel", "team-a", name]["status"]
        return found

    def condition(self, kind: str, *, name: str = "magika") -> dict[str, Any] | None:
        """One condition, or None."""
        return next((c for c in self.status(name).get("conditions", ()) if c["type"] == kind), None)

    def services(self) -> list[str]:
        """Their names."""
        return [name for kind, _, name in self.objects if kind == "Service"]

    def routed(self) -> str | None:
        """The revision that the Service selects, or None without a Service."""
        service = self.objects.get(("Service", "team-a", "magika"))
        return service["spec"]["selector"][names.LABEL_REVISION] if service else None

    def play(self) -> None:
        """Do what a healthy cluster does next: finish a running Job well, or make a Deployment available."""
        for stage, job in self.jobs().items():
            if not job["status"].get("conditions"):
                self.succeed(stage)
        for deployment in self.deployments():
            wanted = deployment["spec"]["replicas"]
            observed = deployment["status"].get("observedGeneration")
            if (
                deployment["status"].get("availableReplicas") != wanted
                or observed != deployment["metadata"]["generation"]
            ):
                self.available(deployment)

    def reach(self, stage: str) -> None:
        """Every stage before this one succeeds, and its Job is there."""
        stages = list(Stage)
        for before in stages[: stages.index(Stage(stage))]:
            self.settle()
            if not self.jobs()[before]["status"].get("conditions"):
                self.succeed(before)
        self.settle()

    def prove(self) -> None:
        """Every stage up to the benchmark succeeds, and what follows is applied."""
        self.reach(Stage.BENCHMARK)
        self.succeed(Stage.BENCHMARK)
        self.settle()

    def deploy(self) -> None:
        """The newest Deployment is available and was measured: what follows is applied, the Service that points to it too."""
        self.available()
        self.settle()
        if "loadtest" in self.jobs():
            self.succeed("loadtest")
            self.settle()

    def live(self, most: int = 12) -> None:
        """Reconcile and play until the model is Ready."""
        for _ in range(most):
            self.settle()
            if self.condition("Ready")["status"] == "True":  # type: ignore[index]
                return
            self.play()
        raise AssertionError(f"not ready: {self.status()}")


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
