"""The catalogue of checks, from which docs/findings.md is made. The checks themselves are in this package's modules.

A check yields findings and decides nothing: whether an error refuses the model is the request's choice.
"""

from dataclasses import dataclass

from onnxmodel_runtime.contract.validate import Finding
from onnxmodel_runtime.errors import clip

SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Check:
    """A check's stable identity. id is what people search for, reason is what machines branch on.

    field: of the spec, where it is answered. meaning and fix: for people, of any model; a finding may know better.
    severity: of its findings, "error or warning" where the case decides.
    """

    id: str
    reason: str
    field: str = "spec.source.uri"
    severity: str = "error"
    meaning: str = ""
    fix: str = ""

    def error(self, target: str, message: str, fix: str = "") -> Finding:
        """A finding that refuses the model where validation is enforced."""
        return self._finding("error", target, message, fix)

    def warning(self, target: str, message: str, fix: str = "") -> Finding:
        """A finding to know about."""
        return self._finding("warning", target, message, fix)

    def info(self, target: str, message: str, fix: str = "") -> Finding:
        """A finding that asks for nothing yet."""
        return self._finding("info", target, message, fix)

    def _finding(self, severity: str, target: str, message: str, fix: str) -> Finding:
        return Finding(self.id, severity, clip(target, 200) or "model", clip(message), clip(fix or self.fix))


# ---- the file --------------------------------------------------------------------------------------------------------

FILE = Check(
    "ONNX-FILE",
    "NotOnnx",
    meaning="The file is missing, empty, or not an ONNX model but, for example, an HTML page, an archive or a pickle.",
    fix="Use the .onnx file that the exporter wrote.",
)
FILE_SIZE = Check(
    "ONNX-FILE-SIZE",
    "FileTooLarge",
    meaning="The .onnx file is larger than protobuf can read (2 GiB), or than the memory of validation.",
    fix="Save the weights as external data: onnx.save(…, save_as_external_data=True), and keep the whole folder together.",
)
CORRUPT = Check(
    "ONNX-CORRUPT",
    "ModelCorrupt",
    meaning="The file starts like a model but cannot be decoded, or it has no graph: it is truncated or damaged.",
    fix="Replace it with an intact copy, and compare its sha256 with the original's.",
)
EXTERNAL = Check(
    "ONNX-EXTERNAL-DATA",
    "ExternalDataInvalid",
    meaning="Weights in another file are missing, lie outside of the model's folder, are behind a link, are "
    "not a regular file, or have another size than the model declares. Refused in mode Warn too, so "
    "that no other files of the machine are read.",
    fix="Save the model again with its data beside it (onnx.save(…, save_as_external_data=True)), "
    "and keep the whole folder together. The URI of a folder ends with a slash.",
)

PIN = Check(
    "ONNX-PIN",
    "NotPinned",
    "spec.source.files",
    "error or warning",
    meaning="Weights are in a file that is neither pinned nor signed: source.sha256 covers only the model "
    "file. An error, also in mode Warn, if the model is signed or the platform requires a pin.",
    fix="Add the file's sha256 to spec.source.files, or sign the whole folder.",
)

# ---- bounds ----------------------------------------------------------------------------------------------------------

NODES = Check(
    "ONNX-NODES",
    "BoundExceeded",
    meaning="The graph has more nodes than allowed, as it is or with its functions inlined. A few functions "
    "that call each other twice expand to billions of nodes.",
    fix="Export without unrolled loops or simplify the model, or ask the platform team to raise the limit.",
)
DEPTH = Check(
    "ONNX-DEPTH",
    "BoundExceeded",
    meaning="Subgraphs, functions or types are nested deeper than allowed, or than protobuf can read.",
    fix="Flatten nested If and Loop nodes in the original model and export it again.",
)
COUNT = Check(
    "ONNX-IO-COUNT",
    "BoundExceeded",
    meaning="The model has more inputs or outputs than can be served (64 each).",
    fix="Concatenate small inputs, and export only the outputs that clients read.",
)
ATTRIBUTE = Check(
    "ONNX-ATTRIBUTE-SIZE",
    "BoundExceeded",
    meaning="An attribute of a node contains more text than any operator needs: 1 MiB in one string, 64 MiB in total.",
    fix="Move large data into an initializer, or preprocess outside of the model.",
)
TENSOR = Check(
    "ONNX-TENSOR",
    "TensorInvalid",
    meaning="A constant's dimensions are negative, overflow 64 bits, or do not match its number of bytes. "
    "Native code that trusts them reads out of bounds.",
    fix="Export the model again; the tensor's dimensions do not match its data.",
)
MEMORY = Check(
    "ONNX-MEMORY",
    "OutOfMemory",
    severity="error or warning",
    meaning="A node creates a tensor of constant size that does not fit into memory, or a run with one row "
    "was measured to need more than the server may use (spec.serving.resources.limits.memory). A "
    "warning if only a larger batch needs more, or if the values of a request determine the size of "
    "a tensor.",
    fix="Raise spec.serving.resources.limits.memory, or check the constant shape, repeats or range that "
    "is the node's input.",
)

# ---- structure -------------------------------------------------------------------------------------------------------

DUPLICATE = Check(
    "ONNX-DUPLICATE-OUTPUT",
    "GraphInvalid",
    meaning="Two nodes write the same tensor, or a node writes an input or an initializer.",
    fix="Give each output a unique name; a tool that merged or edited the graph has reused one.",
)
CYCLE = Check(
    "ONNX-CYCLE",
    "GraphInvalid",
    meaning="Nodes depend on each other's outputs in a cycle.",
    fix="Break the cycle: a recurrent step belongs in a Loop or Scan.",
)
RECURSION = Check(
    "ONNX-RECURSION",
    "GraphInvalid",
    meaning="A function of the model calls itself, directly or through others. Native code that follows it "
    "never terminates.",
    fix="Export without recursive functions.",
)
CHECKER = Check(
    "ONNX-CHECKER",
    "CheckerFailed",
    meaning="The ONNX checker rejects the model; its message names the node or tensor.",
    fix="Export the model again with a current exporter; the message names the node or tensor that breaks the "
    "specification.",
)
SHAPES = Check(
    "ONNX-SHAPES",
    "ShapeInferenceFailed",
    meaning="Shapes or datatypes are inconsistent.",
    fix="Check the node in the message; give its inputs explicit shapes, and check the dynamic axes of the export.",
)
UNTYPED = Check(
    "ONNX-TYPES",
    "TypesNotInferred",
    severity="info",
    meaning="onnx itself cannot infer the outputs of some operators (Scaler, Imputer, Normalizer and others "
    "of ai.onnx.ml, and operators whose function definition it cannot follow). ONNX Runtime can, "
    "and checks the nodes after them when it loads and runs the model.",
    fix="No action needed. With exporters that write value_info for every tensor, onnx can check these nodes too.",
)
DECLARED = Check(
    "ONNX-OUTPUT-SHAPE",
    "OutputShapeWrong",
    severity="warning or info",
    meaning="An output's declared shape differs from the computed one, or there is none. ONNX Runtime "
    "serves the computed shape; status and contracts use it. A warning if the rank or an axis other "
    "than the first differs.",
    fix="Export again with the right output shapes, for clients that read them from the file; what is "
    "served is correct.",
)
UNRANKED = Check(
    "ONNX-INPUT-SHAPE",
    "InputShapeUnknown",
    severity="info",
    meaning="An input declares no shape, not even its rank. The ONNX Runtime server accepts any shape, and "
    "batches no requests.",
    fix="Export with the input's shape: for batching, for Triton, and so that invalid requests are "
    "refused before they run.",
)
REPAIRED = Check(
    "ONNX-REPAIRED",
    "GraphRepaired",
    severity="info",
    meaning="The file breaks a rule of ONNX that ONNX Runtime does not enforce: nodes out of order, a graph "
    "without a name, a domain that is used and not imported, a weight that an old IR version "
    "requires among the inputs, -1 for a dynamic axis. The file is served unchanged; the checker "
    "and all variants use the repaired graph.",
    fix="No action needed. Save it again with a current exporter for stricter tools.",
)
EMPTY = Check(
    "ONNX-EMPTY-AXIS",
    "AxisEmpty",
    severity="warning",
    meaning="An axis of an input or output has size 0: the tensor never contains a value, and a computation "
    "with it proves nothing. Some exporters write 0 for a dynamic axis. Triton cannot serve it.",
    fix="If the axis is dynamic, export it with a name (dim_param) or without a value. If the tensor is "
    "not needed, export without it.",
)
DIMENSION = Check(
    "ONNX-DIMENSION",
    "GraphInvalid",
    meaning="A tensor is declared with a dimension below -1. (-1, which some exporters write for a dynamic axis, is repaired.)",
    fix="Export again: a dynamic axis has a name (dim_param) or no value, a fixed one has its size.",
)

# ---- versions and operators ------------------------------------------------------------------------------------------

OPSET_LOW = Check(
    "ONNX-OPSET-LOW",
    "OpsetTooLow",
    "spec.validation.opset.min",
    "error or info",
    meaning="The model uses an older opset than required. An info for models with ai.onnx.ml operators "
    "(trees, linear models, support vectors, and their encoders), if the required opset is at most "
    "13: their exporters use the oldest opset that the operators need, and a newer one would "
    "compute the same.",
    fix="Export with a newer opset_version, convert with onnx.version_converter, or lower spec.validation.opset.min.",
)
OPSET_HIGH = Check(
    "ONNX-OPSET-HIGH",
    "OpsetTooHigh",
    meaning="The model uses a newer opset than this ONNX Runtime supports, or than the author allows.",
    fix="Export with an older opset_version.",
)
IR_HIGH = Check(
    "ONNX-IR-HIGH",
    "IrVersionTooHigh",
    meaning="The file's IR version is newer than this ONNX Runtime supports.",
    fix="Save it with an older onnx package, or set model.ir_version before saving.",
)
DOMAIN = Check(
    "ONNX-DOMAIN",
    "UnsupportedOperator",
    meaning="Operators of a domain that is not allowed: only ai.onnx, ai.onnx.ml, com.microsoft, the "
    "domains that the platform adds, and functions that the model itself defines are allowed. "
    "com.microsoft.nchwc is not, because it is specific to one kind of processor.",
    fix="Replace the operator with standard ones; libraries of custom operators are not loaded. For "
    "com.microsoft.nchwc: use the model as it was before ONNX Runtime optimized it.",
)
PRECOMPILED = Check(
    "ONNX-PRECOMPILED",
    "UnsupportedOperator",
    meaning="The model contains code that was compiled elsewhere (EPContext): it cannot be validated, and "
    "refers to other files.",
    fix="Use the original model: it is compiled where it is served.",
)
OPERATOR = Check(
    "ONNX-OPERATOR",
    "UnsupportedOperator",
    meaning="This ONNX Runtime has no such operator, or no kernel for these datatypes on the CPU.",
    fix="Export with another opset, or replace the operator with standard ones.",
)
PROVIDER = Check(
    "ONNX-PROVIDER",
    "ProviderIncomplete",
    "spec.serving.executionProviders",
    "error or warning",
    meaning="An execution provider that will serve has no implementation of some operators. The next "
    "provider in the list runs them, and data is copied in between; an error if no provider in the "
    "list supports them. The check uses the operators' names in the providers' documentation: "
    "datatypes are checked when the model is loaded there.",
    fix="Export with other operators or another opset, or change the order of the providers; CPU at the "
    "end of the list runs what the others do not support.",
)
RANDOM = Check(
    "ONNX-RANDOM",
    "NotReproducible",
    severity="warning",
    meaning="Nodes draw random numbers without a seed, or Dropout is in training mode: outputs cannot be compared.",
    fix="Export in evaluation mode, or set a seed on the node.",
)

# ---- inputs and outputs ----------------------------------------------------------------------------------------------

DATATYPE = Check(
    "ONNX-DATATYPE",
    "UnsupportedDatatype",
    meaning="An input or output is not a tensor, or has a datatype that the protocol does not support.",
    fix="Export plain tensors of integers, floats, booleans or strings.",
)
BATCH = Check(
    "ONNX-BATCH",
    "NoDynamicBatch",
    "spec.validation.batch",
    "error or info",
    meaning="The first axis of an input or output is fixed, or the model fails with several rows, so "
    "requests cannot be batched. An info if the inputs have no batch axis by nature: a scalar, "
    "first axes of different fixed sizes (a 1 may be the batch of an export, unless an input has it "
    "at another axis), or a batch that is another axis, by its name or because all inputs share it "
    "while only some first axes are fixed. Running the model detects another case: it fails with "
    "one row. Such a model is served unchanged.",
    fix="Set spec.validation.batch: None for a model without a batch axis. Otherwise export with a dynamic first axis.",
)
LABELS = Check(
    "ONNX-LABELS",
    "LabelsInvalid",
    severity="warning",
    meaning="The metadata property `labels` cannot be read, or does not match the outputs: classification "
    "returns no labels, or wrong ones.",
    fix='Write it as JSON with a list of strings for each output: {"scores": ["cat", "dog"]}.',
)
CONTRACT_INPUT = Check(
    "ONNX-CONTRACT-INPUT",
    "ContractMismatch",
    "spec.validation.inputs",
    meaning="An input differs from what the author declared.",
    fix="Export the model that the contract describes, or correct spec.validation.inputs.",
)
CONTRACT_OUTPUT = Check(
    "ONNX-CONTRACT-OUTPUT",
    "ContractMismatch",
    "spec.validation.outputs",
    meaning="An output differs from what the author declared.",
    fix="Export the model that the contract describes, or correct spec.validation.outputs.",
)
SIZES = Check(
    "ONNX-SIZES",
    "SizesWrong",
    "spec.validation.sizes",
    meaning="A size is set for an axis that is not dynamic, does not exist, or counts as the batch.",
    fix="Use the names in the message: an axis's symbol, or INPUT[AXIS] for an axis without one. The "
    "batch has no size here; if a first axis is not a batch, set spec.validation.batch: None.",
)

# ---- weights ---------------------------------------------------------------------------------------------------------

NAN = Check(
    "ONNX-WEIGHTS-NAN",
    "WeightsInvalid",
    severity="error or info",
    meaning="A constant contains NaN, and everything computed with it is NaN. An info if no node computes "
    "with it: torch.where(mask, nan, y) selects it on purpose. This applies to up to 1,024 "
    "elements, and to constants that are all NaN.",
    fix="Check the training run: it diverged, or the conversion to a smaller datatype overflowed.",
)
INFINITE = Check(
    "ONNX-WEIGHTS-INF",
    "WeightsInvalid",
    severity="error or info",
    meaning="A constant contains infinity. An error in a weight with more than 1,024 elements that also has "
    "finite values other than zero. Otherwise an info: masks and limits use infinity on purpose.",
    fix="Check the training run, and conversions to smaller datatypes: a value overflowed.",
)
RANGE = Check(
    "ONNX-FP16-RANGE",
    "WeightsOutOfRange",
    severity="info",
    meaning="FP32 or FP64 constants contain values beyond 65,504, the maximum of FP16: an FP16 variant "
    "turns them into infinity.",
    fix="Keep these nodes in FP32, or do not request an FP16 variant; the parity check decides.",
)
UNUSED = Check(
    "ONNX-WEIGHTS-UNUSED",
    "WeightsWasted",
    severity="warning",
    meaning="Initializers that no node reads: they cost storage and memory.",
    fix="Export in evaluation mode with constant folding, or remove them (onnxoptimizer, onnxsim).",
)
REPEATED = Check(
    "ONNX-WEIGHTS-DUPLICATE",
    "WeightsWasted",
    severity="warning",
    meaning="Initializers of 1 KiB or more with equal content: shared weights that the export has copied.",
    fix="Keep one of them for all nodes; exporters call this tied or shared weights.",
)

# ---- running ---------------------------------------------------------------------------------------------------------

SESSION = Check(
    "ONNX-SESSION",
    "SessionFailed",
    meaning="ONNX Runtime cannot load the model.",
    fix="Look for the node, tensor or operator in the message: export the model again, or simplify that part of it.",
)
RUN = Check(
    "ONNX-RUN",
    "InferenceFailed",
    severity="error, warning or info",
    meaning="The model loads but fails with inputs generated from its signature; or (a warning) its outputs "
    "contain NaN or infinity. An info if some of the numbers are finite and a constant of the model "
    "contains NaN or infinity on purpose.",
    fix="Provide golden data (spec.validation.golden): inputs that the model accepts. If only the sizes "
    "of dynamic axes are wrong, set them in spec.validation.sizes. The message names the node.",
)
GOLDEN_DATA = Check(
    "ONNX-GOLDEN-DATA",
    "GoldenInvalid",
    "spec.validation.golden",
    "error or warning",
    meaning="The golden data cannot be used: it is missing, damaged, too large, or has names and datatypes "
    "that the model does not have. A warning if it has no elements, so that nothing was compared.",
    fix="Write an .npz file with the keys input:NAME and output:NAME (numpy.savez, no objects), or a folder "
    "test_data_set_0 with input_0.pb and output_0.pb as ONNX's own test data has.",
)
GOLDEN = Check(
    "ONNX-GOLDEN",
    "GoldenMismatch",
    "spec.validation.golden",
    meaning="The model's outputs for the golden inputs differ from the golden outputs.",
    fix="Compare the export with the original framework (evaluation mode, preprocessing), or relax the tolerance.",
)

CHECKS = {
    check.id: check
    for check in (
        *(FILE, FILE_SIZE, CORRUPT, EXTERNAL, PIN),
        *(NODES, DEPTH, COUNT, ATTRIBUTE, TENSOR, MEMORY),
        *(DUPLICATE, CYCLE, RECURSION, REPAIRED, CHECKER, SHAPES, UNTYPED, DECLARED, UNRANKED, EMPTY, DIMENSION),
        *(OPSET_LOW, OPSET_HIGH, IR_HIGH, DOMAIN, PRECOMPILED, OPERATOR, PROVIDER, RANDOM),
        *(DATATYPE, BATCH, LABELS, CONTRACT_INPUT, CONTRACT_OUTPUT, SIZES),
        *(NAN, INFINITE, RANGE, UNUSED, REPEATED),
        *(SESSION, RUN, GOLDEN_DATA, GOLDEN),
    )
}
