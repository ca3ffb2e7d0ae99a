"""The kinds of the Prometheus operator, without the operator: for an API server alone."""

from pathlib import Path

from dev.cluster.golang import module_folder

_MODULE, VERSION = "github.com/prometheus-operator/prometheus-operator", "v0.85.0"
KINDS = ("servicemonitors", "podmonitors", "prometheusrules")


def crds() -> list[Path]:
    """Return the CRDs of what the chart has for it."""
    folder = module_folder(_MODULE, VERSION) / "example" / "prometheus-operator-crd"
    return [folder / f"monitoring.coreos.com_{kind}.yaml" for kind in KINDS]
