"""A process of this machine as the server of an API that the API server passes on (an APIService)."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dev.addons.process import AddOn
from dev.cluster.node import NODES
from dev.cluster.pki import Authority
from dev.kube import Kube, is_true, until

EXTERNAL_METRICS = "v1beta1.external.metrics.k8s.io"

_ADDRESS = NODES[0].address  # not loopback: a Service leads there


def prepare(addon: AddOn, kube: Kube, namespace: str, *services: str) -> Authority:
    """Make the namespace, and in the add-on's folder `certificates` an authority and `tls` for these Services."""
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    authority = Authority(addon.state / "certificates")
    authority.create()
    names = [f"{service}.{namespace}.svc" for service in services]
    authority.issue("tls", addon.name, namespace, ["127.0.0.1"], names)
    return authority


def serve(addon: AddOn, kube: Kube, namespace: str, service: str, port: int, authority: Authority) -> None:
    """Lead the external metrics API through this Service to the port, and wait until that answers."""
    kube.within(namespace).apply(*_way(namespace, service, port, authority.certificate.read_bytes()))

    def answers() -> bool:
        if not addon.running():
            raise RuntimeError(f"{addon.name} ended:\n{addon.logs()}")
        return is_true(kube.get("apiservice", EXTERNAL_METRICS), "Available")

    until("the metrics API answers", answers, seconds=120)


@contextmanager
def withdrawn(kube: Kube) -> Iterator[None]:
    """Take the API away after the block: with one that does not answer, nobody could delete a namespace."""
    try:
        yield
    finally:
        kube.delete("apiservice", EXTERNAL_METRICS)


def _way(namespace: str, name: str, port: int, certificate: bytes) -> tuple[dict[str, Any], ...]:
    return (
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"addresses": [_ADDRESS], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": EXTERNAL_METRICS},
            "spec": {
                "service": {"name": name, "namespace": namespace}, "group": "external.metrics.k8s.io",
                "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "caBundle": base64.b64encode(certificate).decode(),
            },
        },
    )  # fmt: skip
