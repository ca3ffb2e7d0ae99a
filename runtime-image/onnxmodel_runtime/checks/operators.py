"""Check that the execution providers have the operators that a model uses."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import onnx

from onnxmodel_runtime.checks import DOMAIN, PRECOMPILED, PROVIDER, RANDOM
from onnxmodel_runtime.contract.validate import Finding, ValidateRequest
from onnxmodel_runtime.models import graph

_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
# Never on a device: ONNX Runtime makes constants of them when it loads the model.
_FOLDED = {"Constant", "Identity"}
_SHOWN = 5
_MOST = 20


def domains(model: Any, allowed: tuple[str, ...]) -> Iterator[Finding]:
    """Report operators of non-standard domains, one finding for each domain."""
    own = {(function.domain, function.name) for function in model.functions}
    found: dict[str, list[Any]] = {}
    for node in graph.nodes(model):
        if node.domain not in _DOMAINS and node.domain not in allowed and (node.domain, node.op_type) not in own:
            found.setdefault(node.domain, []).append(node)
    for domain, nodes in list(found.items())[:_MOST]:
        operators = list(dict.fromkeys(node.op_type for node in nodes))
        yield DOMAIN.error(
            graph.node_name(nodes[0]),
            f"operators of domain {domain} are not allowed: {_some(operators)} of domain {domain}; nodes: "
            f"{_some([graph.node_name(node) for node in nodes])}",
        )


def precompiled(model: Any) -> Iterator[Finding]:
    """Report precompiled code for one device, wrapped in a node, in the file or in another one that the node names."""
    for node in graph.nodes(model):
        if node.op_type == "EPContext":
            name = graph.node_name(node)
            yield PRECOMPILED.error(name, f"node {name!r} (EPContext) contains a graph that was compiled elsewhere")
            return


def reproducible(model: Any) -> Iterator[Finding]:
    """Report operators that draw random numbers: outputs differ from run to run, so parity and the probe fail."""
    truths = _true_constants(model)
    count = 0
    for node in graph.nodes(model):
        what = ""
        if node.op_type in _RANDOM and not any(attribute.name == "seed" for attribute in node.attribute):
            what = "draws random numbers"
        elif node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] in truths:
            what = "is in training mode and drops values at random"
        if what and (count := count + 1) <= _MOST:
            name = graph.node_name(node)
            yield RANDOM.warning(
                node.name or node.op_type, f"node {name!r} ({node.op_type}) {what}: outputs cannot be compared"
            )


def providers(model: Any, request: ValidateRequest) -> Iterator[Finding]:
    """Report nodes that a requested provider leaves to the next one, or that no provider runs."""
    wanted = [name for name in request.providers if name in _table()]
    if not wanted:
        return
    own = {(function.domain, function.name) for function in model.functions}  # their nodes are looked at themselves
    nodes = [
        node
        for node in graph.nodes(model)
        if (node.domain, node.op_type) not in own and not (node.domain in graph.STANDARD and node.op_type in _FOLDED)
    ]
    if not nodes:
        return
    missing = {name: [node for node in nodes if not _has(name, node)] for name in wanted}
    for place, name in enumerate(wanted):
        left = missing[name]
        if not left:
            continue
        later = [other for other in request.providers[request.providers.index(name) + 1 :] if other in (*wanted, "CPU")]
        share = 100.0 * len(left) / len(nodes)
        operators = Counter(node.op_type for node in left)
        which = (
            f"{name} has no implementation of {len(left)} of {len(nodes)} nodes ({share:.3g} %): "
            f"{_some([f'{operator} ({count})' for operator, count in operators.most_common()])}; nodes: "
            f"{_some([graph.node_name(node) for node in left])}"
        )
        # Nobody takes a node when no provider in the whole list has it; that is said once, of the first.
        nobody = "CPU" not in request.providers and set.intersection(
            *({id(node) for node in missing[other]} for other in wanted)
        )
        if nobody and place == 0:
            count = len(nobody)
            yield PROVIDER.error(graph.node_name(left[0]), f"{which}; no provider in the list supports {count} of them")
        else:
            falls = f"they run on {' or '.join(later)}" if later else "another provider in the list supports them"
            yield PROVIDER.warning(graph.node_name(left[0]), f"{which}; {falls}")


def _has(provider: str, node: Any) -> bool:
    domain = "ai.onnx" if node.domain in graph.STANDARD else node.domain
    return node.op_type in _table()[provider].get(domain, ()) or _written_out(node.op_type, node.domain)


@cache
def _written_out(operator: str, domain: str) -> bool:
    """Operators that ONNX defines by others: without a kernel they are replaced by those."""
    try:
        schema = onnx.defs.get_schema(operator, "" if domain in graph.STANDARD else domain)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


@cache
def _table() -> dict[str, dict[str, frozenset[str]]]:
    """Provider -> domain -> operators, as their makers' documents list them; the file says which."""
    text = files("onnxmodel_runtime.checks").joinpath("provider_operators.json").read_text()
    return {
        provider: {domain: frozenset(operators) for domain, operators in entry["operators"].items()}
        for provider, entry in json.loads(text).items()
    }


def _true_constants(model: Any) -> set[str]:
    found = set()
    for body, _ in graph.graphs(model):
        constants = [(tensor.name, tensor) for tensor in getattr(body, "initializer", ())]
        constants += [
            (node.output[0], attribute.t)
            for node in body.node
            if node.op_type == "Constant" and node.output
            for attribute in node.attribute
            if attribute.name == "value"
        ]
        for name, tensor in constants:
            if tensor.data_type == onnx.TensorProto.BOOL and (any(tensor.raw_data) or any(tensor.int32_data)):
                found.add(name)
    return found


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''}"
