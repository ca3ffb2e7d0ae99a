"""The kinds of Gateway API, without an implementation: for an API server alone."""

from pathlib import Path

from dev.cluster.golang import module_folder

KINDS = ("httproutes", "grpcroutes")
_MODULE, VERSION = "sigs.k8s.io/gateway-api", "v1.6.1"


def crds() -> list[Path]:
    """Return the CRDs of routes, of the standard channel."""
    folder = module_folder(_MODULE, VERSION) / "config" / "crd" / "standard"
    return [folder / f"gateway.networking.k8s.io_{kind}.yaml" for kind in KINDS]
