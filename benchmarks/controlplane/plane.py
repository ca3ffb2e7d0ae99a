"""A control plane of its own for measurements: etcd, the API server and the controllers, and a user for each subject.

Only subjects are audited: every request of theirs, read or write, is a line, and nobody else's is.
"""

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.cluster import controlplane, golang, packages
from dev.cluster.artifacts import remove
from dev.cluster.controlplane import ControlPlane
from dev.cluster.golang import program
from dev.cluster.locking import exclusive
from dev.cluster.paths import state
from dev.cluster.shell import run
from dev.cluster.steps import step
from dev.kube import Kube, until

ROOT = Path(__file__).parents[2]
_PORT = 18443


@dataclass(frozen=True)
class Plane:
    """A running control plane. kube: as its administrator."""

    control: ControlPlane
    kube: Kube

    @property
    def folder(self) -> Path:
        """For kubeconfigs and logs; gone with the control plane."""
        return self.control.state

    @property
    def etcd(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.control.etcd_port}"

    def stop_controllers(self) -> None:
        """End the controller manager: Jobs and Deployments stay as they are."""
        for process in self.control.processes.recorded():
            while process.name == "kube-controller-manager" and process.alive:
                os.kill(process.pid, signal.SIGKILL)
                time.sleep(0.05)

    def token(self, namespace: str, account: str) -> Path:
        """The kubeconfig of a ServiceAccount with a bearer token, as a pod has it."""
        token = self.kube.within(namespace).run("create", "token", account, "--duration=24h").strip()
        config = json.loads(self.control.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        path = self.folder / f"{account}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path


@contextmanager
def running(users: Sequence[str]) -> Iterator[Plane]:
    """A fresh control plane that audits these users, until the end of the block."""
    port = int(os.environ.get("ONNXMODEL_CONTROL_PLANE_PORT") or _PORT)
    control = ControlPlane(state("bench"), "127.0.0.1", port=port, etcd_port=port + 1)
    packages.ensure(packages.CONTROL_PLANE)
    golang.build("kube", "kubectl", "helm")
    with exclusive(control.state.with_name("bench.lock")):
        try:
            with step("control plane: starting"):
                _clean(control)
                control.state.mkdir(parents=True)
                controlplane.prepare(control)
                (control.state / "audit-policy.json").write_text(json.dumps(_policy(users)))
                controlplane.start(control)
                controlplane.wait_ready(control)
                controlplane.start_controllers(control)
            yield Plane(control, Kube(program("kubectl"), control.kubeconfig))
        finally:
            _clean(control)


def install_operator(plane: Plane, namespace: str) -> tuple[Path, Path]:
    """The CRD, and of the chart the account and its rights. Returns the account's kubeconfig and the settings."""
    kube, chart = plane.kube, ROOT / "charts" / "onnxmodel-operator"
    kube.run("apply", "--server-side", "-f", str(ROOT / "crds" / "onnxmodels.yaml"))
    kube.run("create", "namespace", namespace)
    templates = ("rbac", "serviceaccount", "settings")
    shown = run(
        program("helm"), "template", "onnxmodel-operator", chart, "--namespace", namespace, "--set=replicas=2",
        "--set=runtimeImages.cpu=runtime:cpu", *(f"--show-only=templates/{name}.yaml" for name in templates),
    )  # fmt: skip
    kube.within(namespace).run("apply", "-f", "-", stdin=shown)
    settings = plane.folder / "settings.yaml"
    settings.write_text(kube.within(namespace).get("configmap", "onnxmodel-operator")["data"]["settings.yaml"])
    until("the CRD is served", lambda: kube.run("get", "onnxmodels") is not None)
    return plane.token(namespace, "onnxmodel-operator"), settings


def _policy(users: Sequence[str]) -> dict[str, object]:
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "users": list(users)}, {"level": "None"}],
    }


def _clean(control: ControlPlane) -> None:
    control.processes.stop()
    remove(control.state)
