"""The catalogue of what is checked. docs/findings.md is made from it; the questions themselves are in this package's modules.

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
    meaning="The file is missing, empty, or something else than an ONNX model: an HTML page, an archive, a pickle.",
    fix="Upload the .onnx file that the exporter wrote.",
)
FILE_SIZE = Check(
    "ONNX-FILE-SIZE",
    "FileTooLarge",
    meaning="The .onnx file is larger than protobuf can read (2 GiB), or than the memory that validation has.",
    fix="Save the weights in a file beside it: onnx.save(…, save_as_external_data=True), and upload the whole folder.",
)
CORRUPT = Check(
    "ONNX-CORRUPT",
    "ModelCorrupt",
    meaning="The file begins as a model does and cannot be decoded, or it has no graph: cut short or damaged.",
    fix="Upload it again and compare its sha256 with the original's.",
)
EXTERNAL = Check(
    "ONNX-EXTERNAL-DATA",
    "ExternalDataInvalid",
    meaning="Weights in another file are missing, lie outside of the model's folder, are behind a link, are no regular "
    "file, or do not have the bytes that the model says. Refused in mode Warn too: nothing else of the machine is read.",
    fix="Save the model again with its data beside it (onnx.save(…, save_as_external_data=True)), upload the whole "
    "folder, and give its URI with a slash at the end.",
)

PIN = Check(
    "ONNX-PIN",
    "NotPinned",
    "spec.source.files",
    "error or warning",
    meaning="Weights lie in a file that is neither pinned nor signed: source.sha256 is of the model file alone. An error, in "
    "mode Warn too, where the model is signed or the platform demands a pin.",
    fix="Add the file's sha256 to spec.source.files, or sign the whole folder.",
)

# ---- bounds ----------------------------------------------------------------------------------------------------------

NODES = Check(
    "ONNX-NODES",
    "BoundExceeded",
    meaning="The graph has more nodes than are allowed, as it is or once its functions are written out. A few functions "
    "that call each other twice become billions of nodes.",
    fix="Export without unrolled loops, simplify the model, or ask the platform team to raise the bound.",
)
DEPTH = Check(
    "ONNX-DEPTH",
    "BoundExceeded",
    meaning="Subgraphs, functions or types lie within each other deeper than is allowed, or than protobuf reads.",
    fix="Flatten nested If and Loop nodes in the original model and export it again.",
)
COUNT = Check(
    "ONNX-IO-COUNT",
    "BoundExceeded",
    meaning="The model has more inputs or outputs than can be served (64 each).",
    fix="Concatenate small inputs, and export only the outputs that callers read.",
)
ATTRIBUTE = Check(
    "ONNX-ATTRIBUTE-SIZE",
    "BoundExceeded",
    meaning="An attribute of a node holds more text than any operator needs: 1 MiB in one string, 64 MiB in all.",
    fix="Move large data into an initializer, or preprocess outside of the model.",
)
TENSOR = Check(
    "ONNX-TENSOR",
    "TensorInvalid",
    meaning="A constant's dimensions are negative, overflow 64 bits, or ask for another number of bytes than it has. "
    "Native code that trusts them reads beyond its memory.",
    fix="Export the model again; the tensor's dimensions do not belong to its data.",
)
MEMORY = Check(
    "ONNX-MEMORY",
    "OutOfMemory",
    severity="error or warning",
    meaning="A node makes a tensor of constant size that does not fit the memory, or a run with one row was measured to need "
    "more than the server may use (spec.serving.resources.limits.memory). A warning where only a larger batch does, or where the "
    "values of a request decide the size of a tensor.",
    fix="Raise spec.serving.resources.limits.memory, or look at the constant shape, repeats or range that the node is given.",
)

# ---- structure -------------------------------------------------------------------------------------------------------

DUPLICATE = Check(
    "ONNX-DUPLICATE-OUTPUT",
    "GraphInvalid",
    meaning="Two nodes write the same tensor, or a node writes an input or an initializer.",
    fix="Give each output a name of its own; a tool that merged or edited the graph has reused one.",
)
CYCLE = Check(
    "ONNX-CYCLE",
    "GraphInvalid",
    meaning="Nodes wait for each other's outputs in a circle.",
    fix="Break the cycle: a recurrent step belongs in a Loop or Scan.",
)
RECURSION = Check(
    "ONNX-RECURSION",
    "GraphInvalid",
    meaning="A function of the model calls itself, directly or through others. Native code that follows it never ends.",
    fix="Export without recursive functions.",
)
CHECKER = Check(
    "ONNX-CHECKER",
    "CheckerFailed",
    meaning="The ONNX checker refuses the model; its words name the node or tensor.",
    fix="Export the model again with a current exporter; the message names the node or tensor that breaks the "
    "specification.",
)
SHAPES = Check(
    "ONNX-SHAPES",
    "ShapeInferenceFailed",
    meaning="Shapes or datatypes do not fit together.",
    fix="Look at the node that the message names; give its inputs explicit shapes, and check the dynamic axes of the "
    "export.",
)
UNTYPED = Check(
    "ONNX-TYPES",
    "TypesNotInferred",
    severity="info",
    meaning="onnx itself cannot infer what some operators make (Scaler, Imputer, Normalizer and others of ai.onnx.ml, and "
    "operators whose definition as a function it cannot follow). "
    "ONNX Runtime can, and judges the nodes behind them when it loads and runs the model.",
    fix="No action needed. Exporters that write value_info for every tensor let onnx judge these nodes too.",
)
DECLARED = Check(
    "ONNX-OUTPUT-SHAPE",
    "OutputShapeWrong",
    severity="warning or info",
    meaning="An output's declared shape is not what the model computes, or there is none. ONNX Runtime serves what is "
    "computed; status and contracts speak of that. A warning where the rank or another axis than the first differs.",
    fix="Export again with the right output shapes, for clients that read them from the file; what is served is right.",
)
UNRANKED = Check(
    "ONNX-INPUT-SHAPE",
    "InputShapeUnknown",
    severity="info",
    meaning="An input declares no shape, not even its rank. The ONNX Runtime server passes any shape on, and joins no requests.",
    fix="Export with the input's shape, for batching, for Triton, and so that wrong requests are refused before they run.",
)
REPAIRED = Check(
    "ONNX-REPAIRED",
    "GraphRepaired",
    severity="info",
    meaning="The file breaks a rule of ONNX that ONNX Runtime does not insist on: nodes out of order, a graph without a name, "
    "a domain that is used and not imported, a weight that an old IR version wants among the inputs, -1 for a dynamic axis. "
    "The file serves as it is; the checker and all variants work on the repaired graph.",
    fix="No action needed. Save it again with a current exporter for tools that are stricter.",
)
EMPTY = Check(
    "ONNX-EMPTY-AXIS",
    "AxisEmpty",
    severity="warning",
    meaning="An axis of an input or output has the size 0: the tensor never holds a value, and what is computed with it proves "
    "nothing. Some exporters write 0 where they mean a dynamic axis. Triton cannot serve it.",
    fix="If the axis is dynamic, export it as a name (dim_param) or as nothing. If the tensor is not needed, export without it.",
)
DIMENSION = Check(
    "ONNX-DIMENSION",
    "GraphInvalid",
    meaning="A tensor is declared with a dimension below -1. (-1, which some exporters write for a dynamic axis, is repaired.)",
    fix="Export again: a dynamic axis is a name (dim_param) or nothing, a fixed one is its size.",
)

# ---- versions and operators ------------------------------------------------------------------------------------------

OPSET_LOW = Check(
    "ONNX-OPSET-LOW",
    "OpsetTooLow",
    "spec.validation.opset.min",
    "error or info",
    meaning="The model uses an older opset than is asked for. An info for models of ai.onnx.ml operators (trees, linear models, "
    "support vectors, and their encoders), as long as no more than opset 13 is asked for: their exporters take the oldest "
    "opset that the operators need, and nothing newer changes what is computed.",
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
    meaning="The file's format version is newer than this ONNX Runtime reads.",
    fix="Save it with an older onnx package, or set model.ir_version before saving.",
)
DOMAIN = Check(
    "ONNX-DOMAIN",
    "UnsupportedOperator",
    meaning="Operators of a domain that is not allowed: only ai.onnx, ai.onnx.ml, com.microsoft, those that the platform "
    "adds, and functions that the model itself defines. com.microsoft.nchwc is none of them: it holds for one kind of "
    "processor.",
    fix="Replace the operator by standard ones; libraries of custom operators are not loaded. For com.microsoft.nchwc: "
    "upload the model from before ONNX Runtime optimized it.",
)
PRECOMPILED = Check(
    "ONNX-PRECOMPILED",
    "UnsupportedOperator",
    meaning="The model holds code that was compiled elsewhere (EPContext): it cannot be judged, and names files of its own.",
    fix="Upload the original model: it is compiled where it serves.",
)
OPERATOR = Check(
    "ONNX-OPERATOR",
    "UnsupportedOperator",
    meaning="This ONNX Runtime has no such operator, or no kernel for these datatypes on the CPU.",
    fix="Export with another opset, or replace the operator by standard ones.",
)
PROVIDER = Check(
    "ONNX-PROVIDER",
    "ProviderIncomplete",
    "spec.serving.executionProviders",
    "error or warning",
    meaning="An execution provider that will serve has no implementation of some operators. They fall to the next "
    "provider in the list, and data is copied in between; an error where no provider in the list has one. Judged by "
    "the operators' names from the providers' documents: datatypes are settled when the model is loaded there.",
    fix="Export with other operators or another opset, or change the order of the providers; CPU at the end of the list "
    "takes what the others cannot run.",
)
RANDOM = Check(
    "ONNX-RANDOM",
    "NotReproducible",
    severity="warning",
    meaning="Nodes draw random numbers without a seed, or Dropout is in training mode: answers cannot be compared.",
    fix="Export in evaluation mode, or give the operator a seed.",
)

# ---- inputs and outputs ----------------------------------------------------------------------------------------------

DATATYPE = Check(
    "ONNX-DATATYPE",
    "UnsupportedDatatype",
    meaning="An input or output is no tensor, or of a datatype that cannot be sent to or by a server.",
    fix="Export plain tensors of integers, floats, booleans or strings.",
)
BATCH = Check(
    "ONNX-BATCH",
    "NoDynamicBatch",
    "spec.validation.batch",
    "error or info",
    meaning="The first axis of an input or output is fixed, or the model fails with several rows, so that requests "
    "cannot be batched. An info where the inputs have no batch axis by nature: a scalar, first axes of different fixed sizes "
    "(a 1 may be an export's batch, unless an input has it at another axis), or a batch that is another axis by its "
    "name, or by being what all inputs share where only some first axes are fixed. Another one is found by running: the "
    "model fails with one row. Such a model is served as it is.",
    fix="Set spec.validation.batch: None for a model without a batch axis. Else export with a dynamic first axis.",
)
LABELS = Check(
    "ONNX-LABELS",
    "LabelsInvalid",
    severity="warning",
    meaning="The metadata property `labels` cannot be read, or does not fit the outputs: classification answers without these "
    "labels, or with wrong ones.",
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
    meaning="A size is given for an axis that is not dynamic, that the model does not have, or that counts as the batch.",
    fix="Use the names that the message lists: an axis's symbol, or INPUT[AXIS] for an axis without one. The batch has no size "
    "here; if a first axis is not a batch, set spec.validation.batch: None.",
)

# ---- weights ---------------------------------------------------------------------------------------------------------

NAN = Check(
    "ONNX-WEIGHTS-NAN",
    "WeightsInvalid",
    severity="error or info",
    meaning="A constant holds NaN, and whatever is computed with it is NaN. An info where no node computes with it: "
    "torch.where(mask, nan, y) selects it on purpose. That holds for up to 1,024 elements, and for constants of NaN alone.",
    fix="Look at the training run: it diverged, or the conversion to a smaller datatype overflowed.",
)
INFINITE = Check(
    "ONNX-WEIGHTS-INF",
    "WeightsInvalid",
    severity="error or info",
    meaning="A constant holds infinity. An error in a weight: more than 1,024 elements, and finite values beside zero in "
    "it. An info elsewhere: masks and limits use infinity on purpose.",
    fix="Look at the training run, and at conversions to smaller datatypes: a value overflowed.",
)
RANGE = Check(
    "ONNX-FP16-RANGE",
    "WeightsOutOfRange",
    severity="info",
    meaning="FP32 or FP64 constants hold values beyond 65,504, the largest of FP16: a variant in FP16 turns them into "
    "infinity.",
    fix="Keep these nodes in FP32, or do not ask for a variant in FP16; parity decides.",
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
    meaning="Initializers of 1 KiB or more with the same content: shared weights that the export copied.",
    fix="Keep one of them and let every node read it; exporters call that tied or shared weights.",
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
    meaning="It loads and fails with inputs made from its signature; or (a warning) it answers with NaN or infinity. An info "
    "where some of the numbers are finite and a constant of the model holds NaN or infinity on purpose.",
    fix="Give golden data (spec.validation.golden): inputs that the model takes. Where only the sizes of dynamic axes are wrong, "
    "name them in spec.validation.sizes. The message names the node.",
)
GOLDEN_DATA = Check(
    "ONNX-GOLDEN-DATA",
    "GoldenInvalid",
    "spec.validation.golden",
    "error or warning",
    meaning="The golden data cannot be used: missing, damaged, too large, or names and datatypes that the model does not "
    "have. A warning where they hold no elements, so that nothing was compared.",
    fix="Write an .npz file with the keys input:NAME and output:NAME (numpy.savez, no objects), or a folder "
    "test_data_set_0 with input_0.pb and output_0.pb as ONNX's own test data has.",
)
GOLDEN = Check(
    "ONNX-GOLDEN",
    "GoldenMismatch",
    "spec.validation.golden",
    meaning="The model answers the golden inputs with something else than the golden outputs.",
    fix="Compare the export with the original framework (evaluation mode, preprocessing), or loosen the tolerance.",
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
