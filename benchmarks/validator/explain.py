"""One sentence for every way in which a model of the onnx package is refused: whose limit is it, and what would help?"""

import re
from dataclasses import dataclass

_MADE_UP = "Inputs that are made from the signature alone cannot know that; with the test's own inputs the model runs."
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
        "The onnx package defines this opset already; the ONNX Runtime that serves does not load it.",
    ),
    Rule(
        "ONNX-DATATYPE",
        "SEQUENCE|OPTIONAL|MAP",
        "An input or output is no tensor; the Open Inference Protocol carries tensors only.",
    ),
    Rule(
        "ONNX-DATATYPE",
        "",
        "The Open Inference Protocol has no such datatype, or numpy has none to make inputs of: no client could send it.",
    ),
    Rule(
        "ONNX-OPERATOR|ONNX-DOMAIN",
        r"domain ai\.onnx\.preview\.training|'ai\.onnx\.preview\.training'",
        "Operators of training, a preview of the standard: ONNX Runtime does not run them.",
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
        "ONNX Runtime has no CPU kernel of the operator for this datatype, and says so when it loads the model.",
    ),
    Rule(
        "ONNX-SESSION",
        r"bound to different types",
        "ONNX Runtime's own expansion of the operator mixes BF16 with FP32, and does not load.",
    ),
    Rule("ONNX-SESSION", "locale", "The operator needs the locale en_US.UTF-8 of the system, which is not installed."),
    Rule(
        "ONNX-SESSION",
        "layout",
        "ONNX Runtime does not implement layout 1 of this operator, where the batch axis comes first.",
    ),
    Rule(
        "ONNX-SESSION",
        "Unrecognized attribute",
        "The onnx package's definition of the operator has an attribute that this ONNX Runtime's of the same opset has not.",
    ),
    Rule(
        "ONNX-RUN|ONNX-GOLDEN",
        "training_dropout",
        "In training mode the operator draws random numbers, so its answers are never the test's.",
    ),
    Rule(
        "ONNX-RUN|ONNX-GOLDEN",
        "resize_downsample_scales_(cubic|linear)_align_corners|maxunpool_export_with_output_shape",
        "ONNX Runtime's answer to the test's own inputs differs from the standard's.",
    ),
    Rule(
        "ONNX-GOLDEN",
        "qk_matmul_output",
        "ONNX Runtime masks with the lowest number of the datatype where the standard's answer has minus infinity.",
    ),
    Rule(
        "ONNX-RUN|ONNX-GOLDEN-DATA",
        "per-tensor|empty set with bool|mask4d_padded_kv",
        "ONNX Runtime refuses the test's own inputs too: it implements a part of what the standard allows here.",
    ),
    Rule("ONNX-RUN", f"^({_INDICES})", f"An input holds indices into another input, and few numbers are. {_MADE_UP}"),
    Rule("ONNX-RUN", f"^({_AXES})", f"An input says on which axes, or how far, the operator works. {_MADE_UP}"),
    Rule(
        "ONNX-RUN",
        "running",
        f"An input says how the operator works (a shape, a size, a count, a ratio). {_MADE_UP}",
    ),
    Rule(
        "OutOfMemory|ONNX-MEMORY.*",
        "Pad|Resize|Tile|Expand",
        f"An input says how large the output is: made-up numbers ask for more than the 4 GiB of the run. {_MADE_UP}",
    ),
)


def explain(finding: str, about: str, message: str, name: str) -> str:
    """The sentence; "" for what nobody has explained yet. about: the operator or the datatype."""
    for rule in _RULES:
        if re.fullmatch(rule.finding, finding) and any(re.search(rule.where, text) for text in (about, message, name)):
            return rule.sentence
    return ""
