"""The kinds of KEDA, without KEDA itself: for an API server alone."""

from pathlib import Path

from dev.cluster.golang import module_folder

_MODULE, _VERSION = "github.com/kedacore/keda/v2", "v2.20.2"


def crds() -> list[Path]:
    """Return the CRD of ScaledObjects."""
    return [module_folder(_MODULE, _VERSION) / "config" / "crd" / "bases" / "keda.sh_scaledobjects.yaml"]
