"""Transformer fusions: attention, LayerNorm, GELU and their neighbours become one operator each.

ONNX Runtime's own optimizer knows some of these patterns; its Python package for transformers knows more of them. Which
architecture a model has is tried out, for nothing in an ONNX file tells it.
"""

from collections import Counter
from typing import Any

from onnx import helper
from onnxruntime.transformers.fusion_options import AttentionMaskFormat, FusionOptions
from onnxruntime.transformers.optimizer import optimize_by_fusion

from onnxmodel_runtime.models import graph
from onnxmodel_runtime.sandbox.progress import log
from onnxmodel_runtime.variants import layout
from onnxmodel_runtime.variants.task import Skip, Task

# Encoders of any maker, the vision tower of CLIP, encoder and decoder of BART, decoders of GPT-2's kind. The first that
# finds attention is taken. Diffusion models' own are not here: they change layouts for GPUs.
_ARCHITECTURES = ("bert", "clip", "bart", "gpt2")
_DOMAIN = "com.microsoft"  # of the fused operators
_ATTENTION = ("Attention", "MultiHeadAttention", "GroupQueryAttention")


def fuse(task: Task) -> str:
    """Fuse the patterns that are found. Heads and sizes are read from the graph."""
    before = layout.load(task.source)
    if not any(
        node.op_type in ("Softmax", "LayerNormalization", "Erf", "Tanh", "ReduceMean") for node in before.graph.node
    ):
        raise Skip("the graph has no attention, LayerNorm or GELU: it is not a transformer")
    best: Any = None
    for architecture in _ARCHITECTURES:
        found = _fused(task, architecture)
        if found is not None and (best is None or _attention(found)):
            best = found
        if best is not None and _attention(best):
            break
    if best is None or len(best.graph.node) == len(before.graph.node):
        raise Skip("the graph contains no transformer pattern")
    for key in ("producer_name", "producer_version"):
        setattr(best, key, getattr(before, key))
    if all(entry.domain != _DOMAIN for entry in best.opset_import):  # the tool adds it when it saves by itself
        best.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    layout.save(best, task.target)
    return ""


def _fused(task: Task, architecture: str) -> Any:
    """The model with what this architecture's fusions find; None where they fail, or guess wrongly."""
    options = FusionOptions(architecture)
    # BERT's own choice is the length of each row instead of its mask, which is right for padding at the end alone.
    options.attention_mask_format = AttentionMaskFormat.AttentionMask
    try:
        made = optimize_by_fusion(layout.load(task.source), architecture, optimization_options=options).model
    except Exception as error:
        log(f"the fusions of {architecture} do not fit: {error!r}"[:300])
        return None
    return None if any(_heads(node) == 0 for node in made.graph.node) else made


def _attention(model: Any) -> int:
    counts = Counter(node.op_type for node in graph.nodes(model))
    return sum(counts[name] for name in _ATTENTION)


def _heads(node: Any) -> int | None:
    """The heads that a fused node is told to have; None where it is told nothing."""
    return next((attribute.i for attribute in node.attribute if attribute.name == "num_heads"), None)
