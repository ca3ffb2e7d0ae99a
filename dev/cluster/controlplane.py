"""etcd, the API server and the controllers: what a cluster is without nodes."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .apiclient import Api
from .golang import program
from .network import KUBERNETES_SERVICE, SERVICES
from .pki import Authority
from .processes import Processes
from .shell import CommandError

Wrap = Callable[..., tuple[str | Path, ...]]

# Who wrote what, and how often: tests count the operator's writes. The nodes' heartbeats would drown them.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:nodes"], "resources": [{"group": "coordination.k8s.io"}]},
        {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
        {"level": "None"},
    ],
}


@dataclass(frozen=True)
class ControlPlane:
    """State folder and addresses of one control plane."""

    state: Path
    address: str
    port: int = 6443
    etcd_port: int = 2379
    in_network: Wrap = lambda *command: command  # how to run a command in the network where it listens

    @property
    def pki(self) -> Path:
        """Folder of the certificates."""
        return self.state / "pki"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.state / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """One JSON object per line for every write to the API server."""
        return self.state / "log" / "audit.log"

    @property
    def api(self) -> Api:
        """A client with the administrator's certificate."""
        return Api(self.address, self.port, self.pki)

    @property
    def processes(self) -> Processes:
        """The background processes of this control plane, and of its nodes."""
        return Processes(self.state)


def prepare(plane: ControlPlane) -> None:
    """Make the state folder, the certificates and the kubeconfig."""
    plane.audit_log.parent.mkdir(parents=True, exist_ok=True)
    authority = Authority(plane.pki)
    authority.create()
    service = [f"kubernetes{suffix}" for suffix in ("", ".default", ".default.svc", ".default.svc.cluster.local")]
    addresses = sorted({"127.0.0.1", KUBERNETES_SERVICE, plane.address})
    authority.issue("apiserver", "kube-apiserver", "kubernetes", addresses, ["localhost", *service])
    authority.issue("admin", "admin", "system:masters")
    authority.issue("front-proxy", "front-proxy-client", "front-proxy")
    authority.kubeconfig(plane.kubeconfig, f"https://{plane.address}:{plane.port}", "admin")
    (plane.state / "audit-policy.json").write_text(json.dumps(_AUDIT_POLICY))


def start(plane: ControlPlane) -> None:
    """Start etcd and the API server; returns at once."""
    etcd = f"http://127.0.0.1:{plane.etcd_port}"
    peer = f"http://127.0.0.1:{plane.etcd_port + 1}"
    pki = plane.pki
    _start(plane, "etcd", "--data-dir=etcd", "--unsafe-no-fsync", "--log-level=warn",
           f"--quota-backend-bytes={8 * 2**30}",  # benchmarks have thousands of models
           f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peer}",
           f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}")  # fmt: skip
    loopback = plane.address.startswith("127.")
    _start(
        plane, "kube-apiserver", f"--etcd-servers={etcd}", f"--secure-port={plane.port}",
        f"--bind-address={'127.0.0.1' if loopback else '0.0.0.0'}", f"--advertise-address={plane.address}",
        # A Service cannot lead to a loopback address; without nodes nobody asks for it.
        *(["--endpoint-reconciler-type=none"] if loopback else []),
        f"--service-cluster-ip-range={SERVICES}", "--authorization-mode=Node,RBAC", "--allow-privileged",
        f"--client-ca-file={pki}/ca.crt", f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key",
        f"--service-account-key-file={pki}/sa.pub", f"--service-account-signing-key-file={pki}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--kubelet-client-certificate={pki}/admin.crt", f"--kubelet-client-key={pki}/admin.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",  # else `kubectl logs` asks DNS for the node's name
        f"--audit-policy-file={plane.state}/audit-policy.json", f"--audit-log-path={plane.audit_log}",
        "--audit-log-mode=blocking", "--audit-log-maxsize=1000",
        # API servers of add-ons, such as those of metrics for autoscalers, are asked in the name of a user.
        f"--requestheader-client-ca-file={pki}/ca.crt", "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-", f"--proxy-client-cert-file={pki}/front-proxy.crt",
        f"--proxy-client-key-file={pki}/front-proxy.key", "--enable-aggregator-routing=true",
        "--enable-priority-and-fairness=false",  # fairness between tenants costs CPU, and there is one tenant
    )  # fmt: skip


def start_controllers(plane: ControlPlane, *flags: str) -> None:
    """Start the controller manager; the API server must be ready. flags: of it, besides those of every cluster."""
    pki = plane.pki
    _start(
        plane, "kube-controller-manager", f"--kubeconfig={plane.kubeconfig}", "--leader-elect=false", "--secure-port=0",
        f"--service-account-private-key-file={pki}/sa.key", f"--root-ca-file={pki}/ca.crt", "--use-service-account-credentials",
        f"--cluster-signing-cert-file={pki}/ca.crt", f"--cluster-signing-key-file={pki}/ca.key",
        "--kube-api-qps=200", "--kube-api-burst=400", *flags,
    )  # fmt: skip


def start_scheduler(plane: ControlPlane) -> None:
    """Start the scheduler; the API server must be ready."""
    _start(plane, "kube-scheduler", f"--kubeconfig={plane.kubeconfig}", "--leader-elect=false", "--secure-port=0",
           "--kube-api-qps=200", "--kube-api-burst=400")  # fmt: skip


def wait_ready(plane: ControlPlane, seconds: float = 60) -> None:
    """Wait until the API server serves; say what it logged if it does not."""
    deadline = time.monotonic() + seconds
    while not plane.api.ready():
        dead = [process.name for process in plane.processes.recorded() if not process.alive]
        if dead or time.monotonic() > deadline:
            logs = "\n".join(plane.processes.log_tail(name) for name in dead or ("etcd", "kube-apiserver"))
            raise CommandError(
                f"the API server did not become ready; processes that exited: {', '.join(dead) or 'none'}\n{logs}"
            )
        time.sleep(0.05)


def _start(plane: ControlPlane, component: str, *flags: str) -> None:
    plane.processes.start(component, plane.in_network(program("kube"), component, *flags))
