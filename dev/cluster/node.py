"""A node: a containerd and a kubelet of its own on this machine, whose pods really run."""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import cgroups
from .controlplane import ControlPlane
from .golang import program
from .node_init import PRIVATE
from .pki import Authority
from .scratchimage import archive
from .shell import CommandError, run

CONTAINERD = "ONNXMODEL_CONTAINERD"
"""A variable with folders, as in a PATH, of another containerd and its shim than the machine's."""
_PAUSE = "localhost/pause:1"
_CAP_SYS_RESOURCE = 24


@dataclass(frozen=True)
class Node:
    """One node of the cluster."""

    name: str
    address: str
    pods: str  # the range of its pods' addresses; the node's own address is in it
    labels: dict[str, str]
    taints: list[dict[str, str]] = field(default_factory=list)
    extended_resources: dict[str, str] = field(default_factory=dict)  # pretend devices

    def folder(self, plane: ControlPlane) -> Path:
        """Everything that this node keeps on disk."""
        return plane.state / self.name

    def socket(self, plane: ControlPlane) -> Path:
        """containerd's socket."""
        return self.folder(plane) / "containerd.sock"

    def registries(self, plane: ControlPlane) -> Path:
        """Folder of what containerd knows of registries: a folder for each, with a hosts.toml, read when it is asked."""
        return self.folder(plane) / "certs.d"


DEFAULT = Node("node-0", "10.244.0.1", "10.244.0.0/24", {"onnx-operator.dev/pool": "default"})
GPU = Node(
    "node-1",
    "10.244.1.1",
    "10.244.1.0/24",
    {"onnx-operator.dev/pool": "gpu"},
    taints=[{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}],
    extended_resources={"nvidia.com/gpu": "4"},
)
NODES = (DEFAULT, GPU)


def start(node: Node, plane: ControlPlane) -> None:
    """Start the node; the API server need not be ready yet, and containerd comes up before it."""
    folder = node.folder(plane)
    for name in ("cni", "pods-log"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    authority = Authority(plane.pki)
    authority.issue(node.name, f"system:node:{node.name}", "system:nodes", addresses=[node.address], names=[node.name])
    authority.kubeconfig(folder / "kubeconfig", f"https://{plane.address}:{plane.port}", node.name)
    (folder / "cni" / "10-pods.conflist").write_text(json.dumps(_cni(node, folder)))
    (folder / "containerd.toml").write_text(_containerd(folder))
    (folder / "kubelet.json").write_text(json.dumps(_kubelet(node, plane), indent=1))
    cgroups.create(node.name)
    for path in PRIVATE:
        _make_mount_point(Path(path), plane)
    plane.processes.start(
        node.name,
        plane.in_network(
            "unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "--propagation=private", "--",
            sys.executable, Path(__file__).with_name("node_init.py"), folder, node.socket(plane), "--",
            *_program(), "--config", folder / "containerd.toml", "--",
            program("kube"), "kubelet", f"--config={folder}/kubelet.json", f"--kubeconfig={folder}/kubeconfig",
            f"--root-dir={folder}/kubelet", f"--cert-dir={folder}/kubelet-pki",
            f"--hostname-override={node.name}", f"--node-ip={node.address}",
            f"--node-labels={','.join(f'{key}={value}' for key, value in node.labels.items())}",
        ),
    )  # fmt: skip


def _program() -> tuple[str, ...]:
    """containerd finds its shim by the PATH."""
    other = os.environ.get(CONTAINERD)
    return ("env", f"PATH={other}:{os.environ['PATH']}", "containerd") if other else ("containerd",)


def load(node: Node, plane: ControlPlane, image: Path) -> None:
    """Give the node an image from an archive."""
    run("ctr", "--address", node.socket(plane), "--namespace", "k8s.io", "images", "import", image)


def load_pause(node: Node, plane: ControlPlane) -> None:
    """Give the node the image that holds a pod's namespaces. containerd must be up."""
    load(node, plane, archive(_PAUSE, program("pause"), "/pause"))


def images(node: Node, plane: ControlPlane) -> set[str]:
    """Names of the images that the node has."""
    return set(run("ctr", "--address", node.socket(plane), "--namespace", "k8s.io", "images", "list", "-q").split())


def forget(node: Node, plane: ControlPlane, registry: str) -> None:
    """Remove all images of a registry from the node. What runs with them goes on."""
    ctr = ("ctr", "--address", node.socket(plane), "--namespace", "k8s.io", "images")
    lines = run(*ctr, "list").splitlines()[1:]
    targets = {line.split()[2] for line in lines if line.startswith(f"{registry}/")}
    names = [line.split()[0] for line in lines if line.split()[2] in targets]
    if names:
        run(*ctr, "remove", "--sync", *names)


def describe_failure(node: Node, plane: ControlPlane) -> CommandError:
    """Return the error of a node that did not come up, with the end of its logs."""
    tails = []
    for log in ("containerd.log", "kubelet.log"):
        path = node.folder(plane) / log
        lines = path.read_text(errors="replace").splitlines()[-15:] if path.exists() else []
        tails.append("\n".join([f"--- {path}", *lines]))
    return CommandError(f"{node.name} did not become ready\n{plane.processes.log_tail(node.name)}\n" + "\n".join(tails))


def remove_mount_points(state: Path) -> None:
    """Remove the folders outside the state folder that `start` had to make, where they are empty."""
    record = state / "mount-points"
    for path in record.read_text().splitlines() if record.exists() else []:
        try:
            Path(path).rmdir()
        except OSError:
            continue  # gone already, or somebody else uses it now


def _make_mount_point(path: Path, plane: ControlPlane) -> None:
    if not path.exists():
        with (plane.state / "mount-points").open("a") as record:
            record.write(f"{path}\n")
        path.mkdir(parents=True)


def _cni(node: Node, folder: Path) -> dict[str, Any]:
    # ptp and not bridge: every packet passes the machine's routing, so Services work between pods of one node without
    # the kernel module br_netfilter.
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(folder / "addresses"),
                    "ranges": [[{"subnet": node.pods, "gateway": node.address}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            # A machine may have BBR for its way to the internet. Between pods, Linux 6.18 then now and then held back most
            # of a request of 128 KiB for 70 ms, with nothing in flight and the window open (`ss -ti`: lastsnd, notsent).
            # Nodes mostly have CUBIC, which a network namespace may not be allowed to choose; Reno it always is, and where
            # nothing is lost the two are alike.
            {"type": "tuning", "sysctl": {"net.ipv4.tcp_congestion_control": "reno"}},
        ],
    }


def _containerd(folder: Path) -> str:
    return f"""\
version = 2
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{_PAUSE}"
  restrict_oom_score_adj = {"false" if _may_lower_oom_score() else "true"}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{folder}/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def _may_lower_oom_score() -> bool:
    """Return whether we hold CAP_SYS_RESOURCE.

    Without it runc dies with "can't get final child's PID from pipe: EOF".
    """
    (capabilities,) = (
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff")
    )
    return bool(int(capabilities, 16) >> _CAP_SYS_RESOURCE & 1)


def _kubelet(node: Node, plane: ControlPlane) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,  # each node has the usual ports, on its own address
        "healthzBindAddress": node.address,
        "containerRuntimeEndpoint": f"unix://{node.socket(plane)}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups.name(node.name),
        "failCgroupV1": False,  # Kubernetes 1.35 is the last that runs on cgroup v1, and on containerd 1.x
        "failSwapOn": False,
        "podLogsDir": str(node.folder(plane) / "pods-log"),
        "clusterDNS": [plane.address],
        "clusterDomain": "cluster.local",
        "resolvConf": "",  # the machine's own search domains have no place in a pod
        "authentication": {
            "anonymous": {"enabled": False},
            "x509": {"clientCAFile": f"{plane.pki}/ca.crt"},
            "webhook": {"enabled": True},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{plane.pki}/{node.name}.crt",
        "tlsPrivateKeyFile": f"{plane.pki}/{node.name}.key",
        "registerWithTaints": node.taints,
        "makeIPTablesUtilChains": False,  # kube-proxy makes its own; two kubelets would quarrel over these
        "localStorageCapacityIsolation": False,
        "imageGCHighThresholdPercent": 100,  # images were loaded and cannot be pulled again
        "evictionHard": {"memory.available": "50Mi"},
        "nodeStatusUpdateFrequency": "4s",
        "serializeImagePulls": False,
    }
