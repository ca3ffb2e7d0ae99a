"""KEDA: its kinds alone, for an API server, or its operator and metrics API server as processes of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.addons import aggregated
from dev.addons.process import AddOn
from dev.cluster.golang import module_program, required_folder
from dev.kube import Kube

SYSTEM = "keda"

_FOLDER = Path(__file__).parent / "keda-operator"
_MODULE = "github.com/kedacore/keda/v2"
_SERVICE, _PORT = "keda-metrics-apiserver", 19643
_INTERNAL = "127.0.0.1:19666"


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
    with aggregated.withdrawn(kube), addon.session("KEDA", lambda: _start(addon, kube)):
        yield addon


def _bases() -> Path:
    return required_folder(_FOLDER, _MODULE) / "config" / "crd" / "bases"


def _program(name: str) -> Path:
    return module_program(_FOLDER, f"{_MODULE}/cmd/{name}")


def _start(addon: AddOn, kube: Kube) -> None:
    # Not client-side: the CRD of ScaledJobs is too large for an annotation.
    kube.run("apply", "--server-side", "-f", str(_bases()), timeout=120)
    kube.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    authority = aggregated.prepare(addon, kube, SYSTEM, "keda-operator", _SERVICE)
    certificates = addon.state / "certificates"
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
    aggregated.serve(addon, kube, SYSTEM, _SERVICE, _PORT, authority)
