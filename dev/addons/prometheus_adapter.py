"""prometheus-adapter: the metrics API that a HorizontalPodAutoscaler asks, as a process of this machine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from dev.addons import aggregated
from dev.addons.process import AddOn
from dev.cluster.golang import module_program
from dev.kube import Kube

SYSTEM = "prometheus-adapter"

_FOLDER = Path(__file__).parent / "prometheus-adapter"
_PACKAGE = "sigs.k8s.io/prometheus-adapter/cmd/adapter"
_PORT = 19644


def build() -> None:
    """Build it, if the cache has none."""
    _program()


@contextmanager
def running(kube: Kube, prometheus: str, configuration: Mapping[str, Any]) -> Iterator[AddOn]:
    """Have it running on the embedded cluster, with its own configuration file's content, and end it."""
    addon = AddOn(SYSTEM)
    with aggregated.withdrawn(kube), addon.session(SYSTEM, lambda: _start(addon, kube, prometheus, configuration)):
        yield addon


def _program() -> Path:
    return module_program(_FOLDER, _PACKAGE)


def _start(addon: AddOn, kube: Kube, prometheus: str, configuration: Mapping[str, Any]) -> None:
    authority = aggregated.prepare(addon, kube, SYSTEM, SYSTEM)
    folder = addon.state / "certificates"
    config = addon.state / "config.yaml"
    config.write_text(yaml.safe_dump(dict(configuration)))
    accesses = [f"--{name}-kubeconfig={kube.kubeconfig}" for name in ("lister", "authentication", "authorization")]
    addon.start(
        "adapter", _program(), f"--secure-port={_PORT}", f"--client-ca-file={folder}/ca.crt",
        f"--tls-cert-file={folder}/tls.crt", f"--tls-private-key-file={folder}/tls.key", f"--cert-dir={folder}",
        f"--prometheus-url={prometheus}", f"--config={config}", "--metrics-relist-interval=10s", *accesses,
    )  # fmt: skip
    aggregated.serve(addon, kube, SYSTEM, SYSTEM, _PORT, authority)
