"""KEDA: its kinds alone, for an API server, or its operator and metrics API server as processes of this machine."""

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.addons.process import AddOn
from dev.cluster.golang import module_folder, module_program
from dev.cluster.node import NODES
from dev.cluster.pki import Authority
from dev.cluster.steps import step
from dev.kube import Kube, is_true, until

SYSTEM = "keda"

_FOLDER = Path(__file__).parent / "keda-operator"
_MODULE = "github.com/kedacore/keda/v2"
_ADDRESS, _PORT = NODES[0].address, 19643  # not loopback: a Service leads there
_INTERNAL = "127.0.0.1:19666"
_API = "v1beta1.external.metrics.k8s.io"


def build() -> None:
    """Build both programs, if the cache has none."""
    _program("operator")
    _program("adapter")


def crds() -> list[Path]:
    """Return the CRD of ScaledObjects."""
    return [_bases() / "keda.sh_scaledobjects.yaml"]


@contextmanager
def running(kube: Kube) -> Iterator[AddOn]:
    """Have KEDA running on the embedded cluster, with all of its kinds, and end it."""
    addon = AddOn("keda")
    addon.stop()  # one that was killed
    try:
        with step("KEDA: starting"):
            _start(addon, kube)
        yield addon
    finally:
        kube.delete("apiservice", _API)  # without it nobody could delete a namespace
        addon.stop()


def _bases() -> Path:
    (version,) = re.findall(rf"{_MODULE} (v\S+)", (_FOLDER / "go.mod").read_text())
    return module_folder(_MODULE, version) / "config" / "crd" / "bases"


def _program(name: str) -> Path:
    return module_program(_FOLDER, f"{_MODULE}/cmd/{name}")


def _start(addon: AddOn, kube: Kube) -> None:
    # Not client-side: the CRD of ScaledJobs is too large for an annotation.
    kube.run("apply", "--server-side", "-f", str(_bases()), timeout=120)
    kube.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    certificates = addon.state / "certificates"
    authority = Authority(certificates)
    authority.create()
    services = [f"{name}.{SYSTEM}.svc" for name in ("keda-operator", "keda-metrics-apiserver")]
    authority.issue("tls", "keda", SYSTEM, ["127.0.0.1"], services)
    env = {
        "WATCH_NAMESPACE": "",
        "POD_NAMESPACE": SYSTEM,
        "POD_NAME": "keda-0",
        "KEDA_CLUSTER_OBJECT_NAMESPACE": SYSTEM,
    }
    addon.start(
        "operator", _program("operator"), f"--cert-dir={certificates}", "--metrics-bind-address=127.0.0.1:19601",
        "--health-probe-bind-address=127.0.0.1:19602", f"--metrics-service-bind-address={_INTERNAL}", env=env,
    )  # fmt: skip
    accesses = [f"--{name}-kubeconfig={kube.kubeconfig}" for name in ("lister", "authentication", "authorization")]
    addon.start(
        "adapter", _program("adapter"), f"--secure-port={_PORT}", f"--client-ca-file={certificates}/ca.crt",
        f"--tls-cert-file={certificates}/tls.crt", f"--tls-private-key-file={certificates}/tls.key",
        f"--cert-dir={certificates}", f"--metrics-service-address={_INTERNAL}", "--port=19603", *accesses, env=env,
    )  # fmt: skip
    kube.within(SYSTEM).apply(*_service(authority.certificate.read_bytes()))

    def answers() -> bool:
        if not addon.running():
            raise RuntimeError(f"KEDA ended:\n{addon.log('operator')}\n{addon.log('adapter')}")
        return is_true(kube.get("apiservice", _API), "Available")

    until("the metrics API answers", answers, seconds=120)


def _service(certificate: bytes) -> tuple[dict[str, object], ...]:
    """The way from the API server to the adapter."""
    name = "keda-metrics-apiserver"
    ports = [{"name": "https", "port": _PORT, "protocol": "TCP"}]
    return (
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": _PORT}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"addresses": [_ADDRESS], "conditions": {"ready": True}}], "ports": ports,
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": _API},
            "spec": {
                "service": {"name": name, "namespace": SYSTEM}, "group": "external.metrics.k8s.io",
                "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "caBundle": base64.b64encode(certificate).decode(),
            },
        },
    )  # fmt: skip
