"""The variants of a model, and the passes that each is made by.

    optimize.py        the conductor, in the stage's process: the reference answers, the proof of the original
    variants/apart.py  in the same process: one child for each variant; what crashes there is skipped, and the rest comes
    variants/make.py   in the child: the passes, one after the other, and the variant's own proof
    onnxslim, runtime, fusion, halves, quantize: the passes themselves
    variants/layout.py how models lie in the work folder: graphs without weights, and the weights in files beside them

This module is read by the light parent process too: it imports the contract alone.
"""

from dataclasses import dataclass, field

from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.providers import Providers

SLIM, RUNTIME, FUSION = "onnxslim", "onnxruntime", "transformer-fusion"
HALVES, DYNAMIC, STATIC, ORT = "float16", "dynamic-quantization", "static-quantization", "ort-format"


@dataclass(frozen=True, slots=True)
class Tool:
    """The function that runs a pass, imported when it runs because it brings a library. maker: whose tool it is."""

    module: str
    function: str
    maker: str


TOOLS = {
    SLIM: Tool("slim", "slim", "onnxslim"),
    RUNTIME: Tool("runtime", "optimize", "ONNX Runtime's optimizer"),
    FUSION: Tool("fusion", "fuse", "ONNX Runtime's optimizer for transformers"),
    HALVES: Tool("halves", "convert", "ONNX Runtime's converter to float16"),
    DYNAMIC: Tool("quantize", "dynamic", "ONNX Runtime's quantizer"),
    STATIC: Tool("quantize", "static", "ONNX Runtime's quantizer"),
    ORT: Tool("runtime", "edge", "ONNX Runtime's converter to its own format"),
}
# The last pass is what makes the variant what it is; the others may find nothing to do.
RECIPES = {
    "fp32": (SLIM, RUNTIME),
    "fused": (SLIM, FUSION),
    "fp16": (SLIM, FUSION, HALVES),
    "int8-dynamic": (SLIM, FUSION, DYNAMIC),
    "int8-static": (SLIM, STATIC),
    "ort": (SLIM, ORT),
}

# Proven on the rows of wide.py too. Not int8-static: it is made for the range of its calibration data, and cuts the rest.
WIDE = ("fp16", "int8-dynamic")


@dataclass(frozen=True, slots=True)
class Case:
    """Inputs and the original model's outputs, in a file like the probe's.

    rows: their batch size. what: the values that the inputs have, in words; "" for usual ones.
    """

    file: str
    rows: int
    what: str = ""


@dataclass(frozen=True, slots=True)
class Cases:
    """Inputs on which variants are compared with the original.

    recipe: at the recipe's batch sizes. Passes see only these: what they make must not depend on the largest batch.
    beyond: at the largest batch size, and at the ends of the model's own scales. wide: values in other ranges, for
    variants that compute with fewer bits.
    """

    recipe: tuple[Case, ...] = ()
    beyond: tuple[Case, ...] = ()
    wide: tuple[Case, ...] = ()

    @property
    def proof(self) -> tuple[Case, ...]:
        """The cases on which every variant is proven, and the original."""
        return (*self.recipe, *self.beyond)


@dataclass(frozen=True, slots=True)
class VariantRequest:
    """Make the variant `name` of the model that optimize laid out in the folder `work`, and prove it on the cases.

    dead: passes that took their process with them, each with how that was; they are not tried again.
    """

    name: str
    work: str
    optimize: OptimizeRequest
    cases: Cases = Cases()
    dead: dict[str, str] = field(default_factory=dict)

    @property
    def providers(self) -> Providers:
        """The providers on which the variant is proven."""
        return self.optimize.providers


def passes(name: str, providers: Providers) -> tuple[str, ...]:
    """Return the passes of a variant. TensorRT reads standard operators only, and fuses attention by itself."""
    return tuple(
        each for each in RECIPES[name] if name == "fused" or each != FUSION or "TensorRT" not in providers.names
    )


def unsupported(name: str, request: OptimizeRequest) -> str:
    """Return why there can be no such variant for these providers, and what to do. "" if there can."""
    first, names = request.providers.names[0], request.providers.names
    if name not in RECIPES:
        return f"this image cannot build it; it can build {', '.join(RECIPES)}"
    if name == "fp32" and request.graph_level == "None":
        return "the graph level is None, at which no graph is optimized: serve the original"
    if name == "fused" and "TensorRT" in names:
        return "TensorRT supports only standard operators, and fuses attention by itself: serve fp32 or fp16"
    if name == "int8-dynamic" and first != "CPU":
        return (
            f"{first} does not run dynamically quantized operators, so the CPU would: use fp16, or "
            "int8-static on TensorRT"
        )
    if name == "int8-static" and first == "CUDA":
        return "CUDA computes a quantized model in FP32, with conversions around each operator: use fp16, or TensorRT first"
    if name == "ort" and first != "CPU":
        return f"the ORT format is for devices that compute on a CPU, and {first} comes first here: use fp32"
    return ""
