"""Execution providers of ONNX Runtime: the names that a model may ask for, and the one that ran."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from onnxmodel_runtime.contract.identity import Identity

PROVIDERS = ("TensorRT", "CUDA", "OpenVINO", "CPU")
GPU_PROVIDERS = frozenset({"TensorRT", "CUDA"})
PROVIDER_TWICE = "an execution provider is listed twice"
CPU_NOT_LAST = "CPU must be the last execution provider: it supports every node, so a provider after it would run none"


def misplaced(providers: Sequence[str]) -> str:
    """Return what is wrong with a list of execution providers; "" if nothing is."""
    if len(set(providers)) < len(providers):
        return PROVIDER_TWICE
    return CPU_NOT_LAST if "CPU" in providers[:-1] else ""


@dataclass(frozen=True, slots=True)
class Providers:
    """Execution providers in order of preference. The first serves.

    fallback: "Forbid" to fail if the first cannot be loaded, "Allow" to serve with the next that loads.
    options: ONNX Runtime's options by provider, passed on unchanged.
    threads: intra-op threads of a session. With 0 ONNX Runtime decides: in a pod it takes all cores of the node.
    """

    names: Identity[tuple[str, ...]] = ("CPU",)
    fallback: Identity[str] = "Forbid"
    options: Identity[dict[str, dict[str, str]]] = field(default_factory=dict)
    threads: Identity[int] = 1


@dataclass(frozen=True, slots=True)
class ProviderUse:
    """The provider that ran, and the percentage of the graph's nodes that it ran. nodes: count of nodes by provider."""

    name: str
    share_percent: float
    nodes: dict[str, int] = field(default_factory=dict)
