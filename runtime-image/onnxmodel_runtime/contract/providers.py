"""Execution providers of ONNX Runtime: the names that a model may ask for, and the one that ran."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from onnxmodel_runtime.contract.identity import Identity

PROVIDERS = ("TensorRT", "CUDA", "OpenVINO", "CPU")
GPU_PROVIDERS = frozenset({"TensorRT", "CUDA"})
PROVIDER_TWICE = "no execution provider can be named twice"
CPU_NOT_LAST = "CPU must be the last execution provider: it runs every node, and one after it would run none"


def misplaced(providers: Sequence[str]) -> str:
    """What is wrong with a list of execution providers; "" if nothing."""
    if len(set(providers)) < len(providers):
        return PROVIDER_TWICE
    return CPU_NOT_LAST if "CPU" in providers[:-1] else ""


@dataclass(frozen=True, slots=True)
class Providers:
    """Execution providers in the order of preference: TensorRT, CUDA, OpenVINO, CPU. The first serves.

    fallback "Forbid": fail when the first cannot be loaded. "Allow": the next that loads serves.
    options: provider -> option -> value, handed to ONNX Runtime as they are.
    threads: intra-op threads of a session; 0 lets ONNX Runtime decide, which in a pod means all cores of the node.
    """

    names: Identity[tuple[str, ...]] = ("CPU",)
    fallback: Identity[str] = "Forbid"
    options: Identity[dict[str, dict[str, str]]] = field(default_factory=dict)
    threads: Identity[int] = 1


@dataclass(frozen=True, slots=True)
class ProviderUse:
    """The provider that really ran, and its share of the graph's nodes in percent. nodes: provider -> count."""

    name: str
    share_percent: float
    nodes: dict[str, int] = field(default_factory=dict)
