"""KServe's controller under measurement: built from its Go module, without Knative, with its webhooks and its defaults.

A model is an InferenceService of Triton's runtime. Its controller makes a Deployment, a Service, an autoscaler and an
Ingress, and neither Jobs nor anything that waits for one: compare it with one stage of ours.
"""

import asyncio
import base64
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.controlplane.api import Api
from benchmarks.controlplane.plane import Plane
from benchmarks.controlplane.subject import Audit, Many, Meter, Spent, Subject, started
from dev.cluster.artifacts import artifact, digest
from dev.cluster.golang import go
from dev.cluster.pki import Authority
from dev.cluster.shell import run
from dev.cluster.steps import step
from dev.kube import until
from dev.ports import reserved

NAMESPACE = "kserve"
ACCOUNT = "kserve-controller-manager"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
MODULE = Path(__file__).parent / "kserve"
_API = "serving.kserve.io/v1beta1"
_SPEC = {
    "predictor": {
        "model": {
            "modelFormat": {"name": "onnx", "version": "1"},
            "protocolVersion": "v2",
            "storageUri": "s3://models/magika/1/model.onnx",
        }
    }
}
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOGC": "400", "GOWORK": "off", "GOTOOLCHAIN": "local"}


def program() -> Path:
    """Folder of the binary `manager` and of KServe's `config`, made when the cache has none."""

    def make(target: Path) -> None:
        with step("KServe's controller: building", "the first time about 8 min"):
            told = run(go(), "mod", "download", "-json", "github.com/kserve/kserve", cwd=MODULE, env=_ENVIRONMENT)
            source = Path(json.loads(told)["Dir"])
            shutil.copytree(source / "config", target / "config")
            run(go(), "build", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false", "-ldflags=-s -w",
                "-o", target / "manager", "./cmd/manager", cwd=source, env=_ENVIRONMENT)  # fmt: skip

    return artifact("bin", "kserve", digest(MODULE / "go.mod", MODULE / "go.sum"), make, kept=1)


def version() -> str:
    """Of the module."""
    return (MODULE / "go.mod").read_text().split()[-1]


@dataclass
class Rival:
    """State that the parts share. ready: the number of Ready InferenceServices."""

    plane: Plane
    api: Api
    kubeconfig: Path
    webhook_port: int
    ready: int = 0

    @contextmanager
    def controller(self) -> Iterator[tuple[Subject, Meter]]:
        """The controller as a process, and a meter of it since its very start."""
        control = self.plane.control
        audit = Audit(control.audit_log, USER)
        audit.read()
        with ExitStack() as stack:
            metrics, probes = stack.enter_context(reserved(2))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            certificates = folder / "k8s-webhook-server" / "serving-certs"
            certificates.mkdir(parents=True)
            for suffix in ("crt", "key"):
                shutil.copy(control.pki / f"webhook.{suffix}", certificates / f"tls.{suffix}")
            command: list[str | Path] = [
                program() / "manager", f"--metrics-addr=127.0.0.1:{metrics}", f"--webhook-port={self.webhook_port}",
                f"--health-probe-addr=127.0.0.1:{probes}",
            ]  # fmt: skip
            env = {"KUBECONFIG": str(self.kubeconfig), "POD_NAMESPACE": NAMESPACE, "TMPDIR": str(folder)}
            before, log = audit.read(), control.state / "log" / "kserve.log"
            at = f"http://127.0.0.1:{metrics}/metrics", f"http://127.0.0.1:{probes}/readyz"
            subject = stack.enter_context(started(command, log, audit, *at, env))
            yield subject, Meter(subject, before)


@contextmanager
def installed(plane: Plane, api: Api) -> Iterator[Rival]:
    """Its CRDs, rights, settings, runtime and webhooks."""
    kube, config = plane.kube, program() / "config"
    kube.run("create", "namespace", NAMESPACE)
    here = kube.within(NAMESPACE)
    crds = [
        *sorted((config / "crd" / "full").glob("*_*.yaml")),
        *(config / "crd/full/clusterstoragecontainer").glob("*_*.yaml"),
    ]
    kube.run("apply", "--server-side", *(f"--filename={path}" for path in crds))
    role = config / "rbac"
    for path in (role / "role.yaml", role / "service_account.yaml", config / "configmap" / "inferenceservice.yaml"):
        here.run("apply", "-f", str(path))
    binding = yaml.safe_load((role / "role_binding.yaml").read_text())
    binding["subjects"][0]["namespace"] = NAMESPACE
    here.apply(binding)
    here.patch(
        "configmap", "inferenceservice-config", {"data": {"deploy": json.dumps({"defaultDeploymentMode": "Standard"})}}
    )
    until(
        "its kinds are served",
        lambda: kube.run("get", "inferenceservices,clusterservingruntimes,clusterstoragecontainers") is not None,
    )
    for path in (config / "runtimes" / "kserve-tritonserver.yaml", config / "storagecontainers" / "default.yaml"):
        kube.run("apply", "-f", str(path))
    with reserved(1) as (port,):
        Authority(plane.control.pki).issue("webhook", "webhook", "kserve", ["127.0.0.1"])
        kube.apply(*_webhooks(config, plane.control.pki, port))
        yield Rival(plane, api, plane.token(NAMESPACE, ACCOUNT), port)


def _webhooks(config: Path, pki: Path, port: int) -> list[dict[str, Any]]:
    """Those that see InferenceServices and their pods, at the process's own address."""
    found = []
    authority = base64.b64encode((pki / "ca.crt").read_bytes()).decode()
    for item in yaml.safe_load_all((config / "webhook" / "manifests.yaml").read_text()):
        if item and item["metadata"]["name"].startswith("inferenceservice."):
            for hook in item["webhooks"]:
                url = f"https://127.0.0.1:{port}{hook['clientConfig']['service']['path']}"
                hook["clientConfig"] = {"url": url, "caBundle": authority}
                hook["admissionReviewVersions"] = ["v1", "v1beta1"]
            item["metadata"].pop("creationTimestamp")
            found.append(item)
    return found


@dataclass(frozen=True)
class Served(Many):
    """The cost of so many InferenceServices. told_seconds: until each had a status."""

    told_seconds: float


@dataclass(frozen=True)
class Restarted:
    """From the start of a process until it is ready and idle. memory: resident, in bytes."""

    services: int
    spent: Spent
    memory: int


async def burst(rival: Rival, count: int, name: str) -> Served:
    """All at once, in a namespace of their own, from created to Ready."""
    await rival.api.post("/api/v1/namespaces", {"metadata": {"name": name}})
    path = f"/apis/{_API}/namespaces/{name}/inferenceservices"
    with rival.controller() as (subject, _):
        subject.wait_ready()
        subject.wait_idle()
        meter, began, told = Meter(subject), time.monotonic(), 0.0
        items = [
            {"apiVersion": _API, "kind": "InferenceService", "metadata": {"name": f"m-{i:05}"}, "spec": _SPEC}
            for i in range(count)
        ]
        await asyncio.gather(*(rival.api.post(path, item) for item in items))
        while True:
            ready = [row["READY"] for row in await rival.api.table(path)]
            if not told and all(ready):
                told = time.monotonic() - began
            if ready.count("True") == count:
                break
            if time.monotonic() - began > 900:
                raise TimeoutError(f"{ready.count('True')} of {count} InferenceServices are Ready after 900 s")
            await asyncio.sleep(0.5)
        subject.wait_idle()
        rival.ready += count
        return Served(count, meter.read(), told)


async def restart(rival: Rival) -> Restarted:
    """Start the controller beside what is Ready."""
    with rival.controller() as (subject, meter):
        subject.wait_ready()
        subject.wait_idle()
        return Restarted(rival.ready, meter.read(), subject.memory().resident)
