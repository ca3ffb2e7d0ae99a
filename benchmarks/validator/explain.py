"""One sentence for every way in which a model of the onnx package is refused: whose limit is it, and what would help?"""

import re
from dataclasses import dataclass

_MADE_UP = "Inputs generated from the signature alone cannot satisfy that; with the test's own inputs the model runs."
_INDICES = "ArrayFeature|Gather|MaxUnpool|RotaryEmbedding|Scatter|TensorScatter|If$"
_AXES = "Cum|DFT|Pad|Reduce|Slice|Squeeze|Unsqueeze"


@dataclass(frozen=True)
class Rule:
    """finding: its id, as a pattern. where: what the operator, the message or the model's name holds."""

    finding: str
    where: str
    sentence: str


# The first that fits.
_RULES = (
    Rule(
        "ONNX-OPSET-HIGH|ONNX-IR-HIGH",
        "",
        "The onnx package already defines this opset; the ONNX Runtime that serves does not support it.",
    ),
    Rule(
        "ONNX-DATATYPE",
        "SEQUENCE|OPTIONAL|MAP",
        "An input or output is not a tensor; the Open Inference Protocol supports only tensors.",
    ),
    Rule(
        "ONNX-DATATYPE",
        "",
        "The Open Inference Protocol has no such datatype, or numpy has none to generate inputs: no client could send it.",
    ),
    Rule(
        "ONNX-OPERATOR|ONNX-DOMAIN",
        r"domain ai\.onnx\.preview\.training|'ai\.onnx\.preview\.training'",
        "Training operators, a preview of the standard: ONNX Runtime does not support them.",
    ),
    Rule(
        "ONNX-OPERATOR|ONNX-DOMAIN",
        r"ai\.onnx\.preview",
        "A preview of the standard, which ONNX Runtime does not implement yet.",
    ),
    Rule(
        "ONNX-OPERATOR",
        r"kernel for \w+\([1-6]\)",
        "The model is of opset 6; ONNX Runtime has kernels for these operators from opset 7 on, so it could not serve it.",
    ),
    Rule(
        "ONNX-OPERATOR", "kernel for", "ONNX Runtime has no CPU kernel of the operator for this datatype or this opset."
    ),
    Rule(
        "ONNX-SESSION",
        r"Failed to find kernel",
        "ONNX Runtime has no CPU kernel of the operator for this datatype, and reports it when it loads the model.",
    ),
    Rule(
        "ONNX-SESSION",
        r"bound to different types",
        "ONNX Runtime's own expansion of the operator mixes BF16 with FP32, and fails to load.",
    ),
    Rule("ONNX-SESSION", "locale", "The operator needs the system locale en_US.UTF-8, which is not installed."),
    Rule(
        "ONNX-SESSION",
        "layout",
        "ONNX Runtime does not implement layout 1 of this operator, where the batch axis comes first.",
    ),
    Rule(
        "ONNX-SESSION",
        "Unrecognized attribute",
        "The onnx package defines an attribute of the operator that this ONNX Runtime does not have at the same opset.",
    ),
    Rule(
        "ONNX-RUN|ONNX-GOLDEN",
        "training_dropout",
        "In training mode the operator draws random numbers, so its outputs never match the test's.",
    ),
    Rule(
        "ONNX-RUN|ONNX-GOLDEN",
        "resize_downsample_scales_(cubic|linear)_align_corners|maxunpool_export_with_output_shape",
        "ONNX Runtime's output for the test's own inputs differs from the standard's.",
    ),
    Rule(
        "ONNX-GOLDEN",
        "qk_matmul_output",
        "ONNX Runtime masks with the lowest number of the datatype; the standard's output has minus infinity.",
    ),
    Rule(
        "ONNX-RUN|ONNX-GOLDEN-DATA",
        "per-tensor|empty set with bool|mask4d_padded_kv",
        "ONNX Runtime also rejects the test's own inputs: it implements only part of what the standard allows here.",
    ),
    Rule(
        "ONNX-RUN",
        f"^({_INDICES})",
        f"An input holds indices into another input, and few numbers are valid. {_MADE_UP}",
    ),
    Rule("ONNX-RUN", f"^({_AXES})", f"An input sets the axes, or the range, of the operator. {_MADE_UP}"),
    Rule(
        "ONNX-RUN",
        "running",
        f"An input controls the operator (a shape, a size, a count, a ratio). {_MADE_UP}",
    ),
    Rule(
        "OutOfMemory|ONNX-MEMORY.*",
        "Pad|Resize|Tile|Expand",
        f"An input sets the size of the output: generated numbers need more than the 4 GiB of the run. {_MADE_UP}",
    ),
)


def explain(finding: str, about: str, message: str, name: str) -> str:
    """The sentence; "" for what nobody has explained yet. about: the operator or the datatype."""
    for rule in _RULES:
        if re.fullmatch(rule.finding, finding) and any(re.search(rule.where, text) for text in (about, message, name)):
            return rule.sentence
    return ""
