"""Add-ons of a cluster beside nodes and control plane: Services, DNS, volumes."""

from pathlib import Path

from .apiclient import Api
from .controlplane import ControlPlane
from .golang import program
from .network import PODS

_PROVISIONER = "onnx-operator.dev/machine-folder"
_STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": _PROVISIONER,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer",  # as clouds do it: whoever waits for a bound claim waits for ever
}


def start(plane: ControlPlane) -> None:
    """Start the Service proxy, the DNS server and the volume provisioner; the API server must be ready."""
    start = plane.processes.start
    # One proxy serves both nodes: they share the cluster's network.
    start("kube-proxy", plane.in_network(
        program("kube"), "kube-proxy", f"--kubeconfig={plane.kubeconfig}", "--proxy-mode=iptables", f"--cluster-cidr={PODS}",
        "--hostname-override=node-0", "--iptables-min-sync-period=100ms", "--healthz-bind-address=127.0.0.1:10256",
        # The table's size is the machine's business, not that of a network namespace.
        "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s",
    ))  # fmt: skip
    corefile = plane.state / "Corefile"
    corefile.write_text(_corefile(plane))
    start("coredns", plane.in_network(program("coredns"), "-conf", corefile))
    folder = plane.state / "volumes"
    folder.mkdir(exist_ok=True)
    start("volumes", plane.in_network(
        program("volumes"), f"--kubeconfig={plane.kubeconfig}", f"--folder={folder}", f"--provisioner={_PROVISIONER}",
    ))  # fmt: skip


def apply(api: Api) -> None:
    """Create the default StorageClass."""
    api.apply("/apis/storage.k8s.io/v1/storageclasses", _STORAGE_CLASS)


def _corefile(plane: ControlPlane) -> str:
    forward = " forward . /etc/resolv.conf\n" if _machine_resolves() else ""
    return f"""\
.:53 {{
 bind {plane.address}
 errors
 kubernetes cluster.local in-addr.arpa {{
  kubeconfig {plane.kubeconfig}
 }}
{forward} cache 5
}}
"""


def _machine_resolves() -> bool:
    """Return whether outside names can be resolved. A resolver on a loopback address is out of the cluster's reach."""
    path = Path("/etc/resolv.conf")
    lines = path.read_text().splitlines() if path.exists() else []
    servers = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    return bool(servers) and not any(server.startswith("127.") or server == "::1" for server in servers)
