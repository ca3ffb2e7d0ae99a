"""Shape inference, with what onnx cannot infer kept apart from what does not fit together.

onnx has no type inference for some operators of ai.onnx.ml (Scaler, Imputer, Normalizer, ...), and fails at the first
node behind one. ONNX Runtime infers these types, so that loading the model is the proof. Declared shapes that differ from
what the nodes compute are no defect of the nodes either: ONNX Runtime drops such declarations.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import onnx

from onnxmodel_runtime.checks import DECLARED, SHAPES, UNTYPED
from onnxmodel_runtime.contract.validate import Finding
from onnxmodel_runtime.errors import clip, ran_out_of_memory
from onnxmodel_runtime.models import graph

_PART = re.compile(r"\(op_type:([^,)]+)(?:, node name: (.*?))?\): \[")
_DECLARED = "existing shape differ"
_TYPE = "[TypeInferenceError]"
_SHOWN = 5
_MOST = 1 << 20  # characters of a message: one line for each node


def infer(model: Any) -> tuple[Any, list[Finding]]:
    """Return the model with inferred types and shapes, and the findings.

    May change the model, but not the served file.
    """
    try:
        return _strict(model), []
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        message = str(error)[:_MOST]
    if _named_apart(model):
        message = _failure(model) or message
    findings: list[Finding] = []
    if _DECLARED in message:
        declared = _drop_shapes(model)
        try:
            inferred = _strict(model)
        except Exception as error:
            if ran_out_of_memory(error):
                raise
            message, inferred = str(error)[:_MOST], _lenient(model)
        else:
            message = ""
        findings += _differing(declared, inferred)
    if not message:
        return inferred, findings
    inferred = _lenient(model)
    parts = _parts(message)
    defective = _defective(model, parts)
    failed = {(operator, name) for operator, name, _ in parts} - defective.keys()
    blind, makers = _untyped(inferred, failed)
    makers += [node for node in defective.values() if node is not None and not _holds(makers, node)]
    faults = [text for operator, name, text in parts if (operator, name) not in blind.keys() | defective.keys()]
    if faults or not makers:
        detail = clip(" ".join(faults) or message, 4000)
        findings.append(_inconsistent(detail))
        return inferred, findings
    operators = Counter(f"{node.op_type} of {node.domain or 'ai.onnx'}" for node in makers)
    names = [f"{operator} ({count})" for operator, count in operators.most_common(_SHOWN)]
    findings.append(
        UNTYPED.info(
            graph.node_name(makers[0]),
            f"onnx cannot infer the outputs of {', '.join(names)}: only ONNX Runtime checks the nodes after them "
            f"({sum(blind.values())}), when it loads and runs the model",
        )
    )
    return inferred, findings


def _inconsistent(detail: str) -> Finding:
    """Return a finding for onnx's message, which is either about shapes or about datatypes."""
    if _TYPE not in detail:
        return SHAPES.error(node_in(detail), f"shapes are inconsistent: {detail}")
    fix = "Check the datatypes of the node in the message: export again, or insert a Cast in front of it."
    return SHAPES.error(node_in(detail), f"datatypes are inconsistent: {detail}", fix)


def node_in(message: str) -> str:
    """Return the node that a message of onnx names."""
    found = re.search(r"node name: ([^)\s]+)", message) or re.search(r"op_type:\s*(\w+)", message)
    return found.group(1) if found else "graph"


def _strict(model: Any) -> Any:
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def _lenient(model: Any) -> Any:
    """Infer as many shapes as possible without reporting errors. Returns the model unchanged if even that fails."""
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        return model


def _failure(model: Any) -> str:
    """Return the error of strict inference. "" if there is none."""
    try:
        _strict(model)
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        return str(error)[:_MOST]
    return ""


def _named_apart(model: Any) -> bool:
    """Give each node a name of its own, by which messages tell it from others; whether one had none.

    Nodes without a name are named as people find them anyway, by their first output.
    """
    names: set[str] = set()
    changed = False
    for node in graph.nodes(model):
        name = own = graph.node_name(node)
        number = 2
        while own in names:
            own, number = f"{name}#{number}", number + 1
        names.add(own)
        if node.name != own:
            node.name, changed = own, True
    return changed


def _drop_shapes(model: Any) -> dict[str, list[int]]:
    """Remove the shapes of outputs and of what lies between. Returns those of outputs."""
    declared = {}
    del model.graph.value_info[:]
    for value in model.graph.output:
        if value.type.tensor_type.HasField("shape"):
            declared[value.name] = [graph.dimension(dim) for dim in value.type.tensor_type.shape.dim]
            value.type.tensor_type.ClearField("shape")
    return declared


def _differing(declared: dict[str, list[int]], inferred: Any) -> Iterator[Finding]:
    for value in inferred.graph.output:
        kind = value.type.tensor_type
        if value.name not in declared or not kind.HasField("shape"):
            continue
        before, after = declared[value.name], [graph.dimension(dim) for dim in kind.shape.dim]
        pairs = zip(before, after, strict=False)
        if len(before) != len(after) or any(old >= 0 and new >= 0 and old != new for old, new in pairs):
            message = (
                f"output {value.name!r} is declared with shape {before}; the nodes compute {after}, which is served"
            )
            yield DECLARED.warning(value.name, message)


def _untyped(model: Any, failed: set[tuple[str, str]]) -> tuple[Counter[tuple[str, str]], list[Any]]:
    """Nodes that read a tensor without a type, as onnx's messages name them, and the nodes that make such tensors.

    model: as far as it can be inferred. failed: nodes that onnx names; a maker is none of them: onnx passed it over.
    A node with subgraphs counts with all nodes in them.
    """
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    typed = {value.name for value in values if value.type.WhichOneof("value")}
    unknown: set[str] = set()
    blind: Counter[tuple[str, str]] = Counter()
    makers = []
    for node in model.graph.node:
        left = [name for name in node.output if name and name not in typed]
        if unknown.intersection(graph.reads(node)):
            inside = (inner for body, _ in graph.opened(*graph.subgraphs(node)) for inner in body.node)
            blind.update((each.op_type, each.name) for each in (node, *inside))
        elif left and (node.op_type, node.name) not in failed:
            makers.append(node)
        unknown.update(left)
    return blind, makers


def _defective(model: Any, parts: list[tuple[str, str, str]]) -> dict[tuple[str, str], Any]:
    """Failures within onnx's own definition of an operator as a function, as keys of `parts`.

    Nodes of such a definition are not the model's: None. The model's node whose definition it is stands before them.
    """
    own = {(node.op_type, node.name): node for node in graph.nodes(model)}
    found: dict[tuple[str, str], Any] = {}
    caller: tuple[str, str] | None = None
    for operator, name, _ in parts:
        if (operator, name) in own:
            caller = operator, name
        elif caller is not None:
            found[operator, name], found[caller] = None, own[caller]
    return found


def _holds(nodes: list[Any], node: Any) -> bool:
    return any((each.op_type, each.name) == (node.op_type, node.name) for each in nodes)


def _parts(message: str) -> list[tuple[str, str, str]]:
    """The nodes that a message of onnx names, those of subgraphs too: operator, name, and what it says of the node."""
    found = list(_PART.finditer(message))
    ends = [*(part.start() for part in found[1:]), len(message)]
    return [
        (part.group(1), part.group(2) or "", message[part.start() : end].strip())
        for part, end in zip(found, ends, strict=True)
    ]
