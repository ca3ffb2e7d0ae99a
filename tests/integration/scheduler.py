"""Kubernetes' own scheduler, and a node of which nothing is real but its name and size."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dev.kube import Kube
from onnxmodel_operator.render import claim_name

NODE = "quiet"
ON_IT = f"nodeSelector: {{pool: {NODE}}}, tolerations: [{{operator: Exists}}]"
"""Of a pool: pods of other tests stay off the node, and without a kubelet it keeps the taint that it is not ready."""
_NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE, "pool": NODE}},
    "spec": {"taints": [{"key": NODE, "value": "true", "effect": "NoSchedule"}]},
}


@contextmanager
def scheduled(control_plane: Kube) -> Iterator[None]:
    """Run a scheduler, and have one node."""
    from dev.cluster.golang import program

    control_plane.apply(_NODE)
    resize(control_plane)
    flags = [f"--kubeconfig={control_plane.kubeconfig}", "--leader-elect=false", "--secure-port=0"]
    scheduler = subprocess.Popen(
        [str(program("kube")), "kube-scheduler", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    yield
    scheduler.terminate()
    scheduler.wait(30)
    control_plane.delete("node", NODE, wait=False)


def vacate(control_plane: Kube) -> None:
    """Remove the pods of earlier tests from the node, as a kubelet would: they hold its devices for ever."""
    there = f"--field-selector=spec.nodeName={NODE}"
    pods = json.loads(control_plane.run("get", "pods", "--all-namespaces", there, "-o", "json"))["items"]
    for pod in (pod["metadata"] for pod in pods):
        control_plane.within(pod["namespace"]).run(
            "delete", "pod", pod["name"], "--grace-period=0", "--force", "--ignore-not-found"
        )


def resize(control_plane: Kube, **devices: str) -> None:
    """Give the node these extended resources."""
    room = {"cpu": "64", "memory": "256Gi", "pods": "100", "ephemeral-storage": "1Ti", **devices}
    ready = {"type": "Ready", "status": "True", "reason": "Played", "message": ""}
    status = {"status": {"capacity": room, "allocatable": room, "conditions": [ready]}}
    control_plane.patch("node", NODE, status, subresource="status")


def volume(name: str, kube: Kube, owner: str) -> dict[str, Any]:
    """Make a volume for the claim of a model: the scheduler places no pod whose claim has none."""
    spec = {
        "capacity": {"storage": "10Gi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/none"},
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": kube.namespace, "name": claim_name(owner)},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}
