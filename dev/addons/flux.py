"""Flux's source-controller and kustomize-controller, as processes in the cluster's network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.addons.process import AddOn
from dev.cluster.golang import module_program, required_folder
from dev.kube import Kube, until

SYSTEM = "flux-system"

_HERE = Path(__file__).parent
_MODULES = {
    "source-controller": (_HERE / "flux-source", "github.com/fluxcd/source-controller"),
    "kustomize-controller": (_HERE / "flux-kustomize", "github.com/fluxcd/kustomize-controller"),
}
_ARTIFACTS = "127.0.0.1:19520"  # where the one serves what it fetched, and the other reads it


def build() -> None:
    """Build both controllers, if the cache has none."""
    for name in _MODULES:
        _program(name)


@contextmanager
def running(kube: Kube) -> Iterator[AddOn]:
    """Have Flux running on the embedded cluster, with its kinds, and end it."""
    addon = AddOn("flux")
    with addon.session("Flux", lambda: _start(addon, kube)):
        try:
            yield addon
        finally:  # while there is somebody who takes their finalizers away
            kube.within(SYSTEM).run("delete", "kustomizations,gitrepositories", "--all", "--timeout=60s")


def _program(name: str) -> Path:
    return module_program(*_MODULES[name])


def _start(addon: AddOn, kube: Kube) -> None:
    for module in _MODULES.values():
        kube.run("apply", "--server-side", "-k", str(required_folder(*module) / "config" / "crd"))
    established = ("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    until("the kinds are served", lambda: kube.run(*established))  # a CRD without any condition yet is an error for it
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    (artifacts := addon.state / "artifacts").mkdir(parents=True)
    flags = ("--watch-all-namespaces", "--log-encoding=console", "--events-addr=", "--requeue-dependency=2s")
    env = {"RUNTIME_NAMESPACE": SYSTEM}
    addon.start(
        "source-controller", _program("source-controller"), *flags, f"--storage-path={artifacts}",
        f"--storage-addr={_ARTIFACTS}", f"--storage-adv-addr={_ARTIFACTS}", "--metrics-addr=127.0.0.1:19521",
        "--health-addr=127.0.0.1:19522", env=env,
    )  # fmt: skip
    addon.start(
        "kustomize-controller", _program("kustomize-controller"), *flags, "--metrics-addr=127.0.0.1:19523",
        "--health-addr=127.0.0.1:19524", env=env,
    )  # fmt: skip
