"""Argo CD: its API server, application controller and repository server, with a Redis of Debian, in the cluster's network."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dev.addons.process import AddOn
from dev.cluster import packages
from dev.cluster.golang import module_program, program, required_folder
from dev.cluster.shell import run
from dev.kube import Kube, until

SYSTEM = "argocd"

FOLDER = Path(__file__).parent / "argo-cd"
_MODULE = "github.com/argoproj/argo-cd/v3"
_REDIS, _REPOSITORIES, _SERVER = (f"127.0.0.1:{port}" for port in (19530, 19531, 19532))


def build() -> None:
    """Build it, if the cache has none."""
    _program()


def sources() -> Path:
    """Return the folder of its own sources."""
    return required_folder(FOLDER, _MODULE)


def cli(*words: str | Path) -> str:
    """Return what a command of Argo CD's command line prints."""
    return run(_program(), *words)


class ArgoCD:
    """One that runs, by its Applications."""

    def __init__(self, addon: AddOn, kube: Kube) -> None:
        self._addon, self.kube = addon, kube.within(SYSTEM)

    def logs(self) -> str:
        """The ends of its logs."""
        return self._addon.logs()


@contextmanager
def running(kube: Kube, *customizations: Path) -> Iterator[ArgoCD]:
    """Have it running on the embedded cluster, with these patches of its ConfigMap argocd-cm, and end it."""
    packages.ensure({"redis-server": "redis-server"})
    addon = AddOn("argocd")
    with addon.session("Argo CD", lambda: _start(addon, kube, customizations)):
        argocd = ArgoCD(addon, kube)
        try:
            yield argocd
        finally:  # while there is somebody who takes their finalizers away
            argocd.kube.run("delete", "applications", "--all", "--timeout=120s", timeout=130)


def _program() -> Path:
    return module_program(FOLDER, ".")


def _start(addon: AddOn, kube: Kube, customizations: tuple[Path, ...]) -> None:
    manifests, within = sources() / "manifests", kube.within(SYSTEM)
    # Not client-side: the CRD of ApplicationSets is too large for an annotation.
    kube.run("apply", "--server-side", "-k", str(manifests / "crds"))
    established = ("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    until("the kinds are served", lambda: kube.run(*established))  # a CRD without any condition yet is an error for it
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    within.run("apply", "-k", str(manifests / "base" / "config"))
    for patch in customizations:
        within.run("patch", "configmap", "argocd-cm", f"--patch-file={patch}")
    keys, tools = addon.state / "keys", addon.state / "tmp"
    for folder in (keys / "tls", keys / "ssh", tools):
        folder.mkdir(parents=True)
    (keys / "ssh" / "ssh_known_hosts").touch()  # wanted at the start, although nothing is reached by ssh
    env = {
        "PATH": f"{program('helm').parent}:{os.environ['PATH']}",
        "HOME": str(addon.state),
        "HOSTNAME": "argocd-0",
        "TMPDIR": str(tools),
        "ARGOCD_FAKE_IN_CLUSTER": "true",  # https://kubernetes.default.svc is the API server of the KUBECONFIG
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_TLS_DATA_PATH": str(keys / "tls"),
        "ARGOCD_SSH_DATA_PATH": str(keys / "ssh"),
        "ARGOCD_SYNC_WAVE_DELAY": "1",
    }
    common = (f"--redis={_REDIS}", "--logformat=text", "--loglevel=warn")
    cluster = (f"--kubeconfig={kube.kubeconfig}", f"--namespace={SYSTEM}", f"--repo-server={_REPOSITORIES}")
    plain = "--repo-server-plaintext"
    addon.start("redis", "redis-server", "--bind", "127.0.0.1", "--port", _REDIS.partition(":")[2], "--save", "")
    address, port = _REPOSITORIES.split(":")
    addon.start(
        "repo-server", _program(), "repo-server", f"--address={address}", f"--port={port}", "--disable-tls",
        f"--metrics-address={address}", "--metrics-port=19533", *common, env=env,
    )  # fmt: skip
    address, port = _SERVER.split(":")
    addon.start(
        "server", _program(), "server", f"--address={address}", f"--port={port}", "--insecure", "--disable-auth",
        "--metrics-port=19534", plain, *cluster, *common, env=env,
    )  # fmt: skip
    # The server makes the project and the signing key that the controller's settings need.
    until("the default project", lambda: _alive(addon) and within.get("appproject", "default"), seconds=60)
    addon.start(
        "controller", _program(), "application-controller", "--metrics-port=19535", "--app-resync=5",
        "--app-resync-jitter=0", plain, *cluster, *common, env=env,
    )  # fmt: skip


def _alive(addon: AddOn) -> bool:
    if not addon.running():
        raise RuntimeError(f"Argo CD ended:\n{addon.logs()}")
    return True


def application(name: str, url: str, path: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """An Application that is synced with a folder of a repository all by itself. spec: more of its fields."""
    source = {"repoURL": url, "path": path, "targetRevision": "main", **spec.pop("source", {})}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {
            "name": name,
            "namespace": SYSTEM,
            "finalizers": ["resources-finalizer.argocd.argoproj.io"],
            **spec.pop("metadata", {}),
        },
        "spec": {
            "project": "default",
            "source": source,
            "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
            "syncPolicy": {"automated": {"prune": True, "selfHeal": True}, "syncOptions": ["ServerSideApply=true"]},
            **spec,
        },
    }
