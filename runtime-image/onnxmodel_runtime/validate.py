"""Judge a model: from the first bytes to one real inference, cheap questions first.

Everything here parses untrusted input with native code and runs in the child process of isolate.py.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import helper

from onnxmodel_runtime import checks, graph
from onnxmodel_runtime.contract import Finding, ModelFacts, Providers, Tensor, ValidateRequest, ValidateResult
from onnxmodel_runtime.digests import digest
from onnxmodel_runtime.errors import StageError, clip, runtime_message, words
from onnxmodel_runtime.fetch import read_source
from onnxmodel_runtime.inputs import generate, signature
from onnxmodel_runtime.progress import log, step
from onnxmodel_runtime.session import open_session

_MANY_ROWS = 3


def validate(request: ValidateRequest) -> ValidateResult:
    """The model's facts and what was found. Raises StageError for the first error when the request says Enforce."""
    directory = Path(request.directory).absolute()
    path = directory / request.file
    model = _read(path, directory, request.sha256.lower())
    findings: list[Finding] = []

    def note(found: Iterable[Finding]) -> bool:
        """Keep findings; whether none of them is an error."""
        fresh = list(found)
        findings.extend(fresh)
        for finding in fresh:
            log(f"{finding.severity} {finding.id} {finding.target}: {finding.message}")
        return not any(finding.severity == "error" for finding in fresh)

    step("reading the model's versions")
    loadable = note(checks.versions(model, request, *supported()))
    step("running the ONNX checker")
    loadable &= note(_checker(path))
    step("inferring shapes")
    inferred = _inferred(model)
    if isinstance(inferred, Finding):
        loadable &= note([inferred])
    else:
        model = inferred
    facts = graph.facts(model, path, checks.external_files(model, directory))
    step("comparing inputs and outputs")
    servable = note(checks.datatypes(facts.inputs, facts.outputs))
    if request.dynamic_batch == "Required":
        servable &= note(checks.batch_axes(facts.inputs, facts.outputs, _known_rank(model)))
    note(checks.contract(checks.CONTRACT_INPUT, request.inputs, facts.inputs))
    note(checks.contract(checks.CONTRACT_OUTPUT, request.outputs, facts.outputs))
    note(checks.reproducible(model))
    if loadable:
        note(_run(path, model, facts, servable and request.dynamic_batch == "Required"))
    if request.mode == "Enforce":
        _refuse(findings)
    uri = str(read_source(directory).get("uri", ""))
    return ValidateResult(facts, tuple(sorted(findings, key=lambda finding: finding.severity)), uri)


def _read(path: Path, directory: Path, pin: str) -> Any:
    """The model without its external data. What fails here leaves nothing to report on, in any mode."""
    step("looking at the file")
    if pin and path.is_file() and (actual := digest(path)) != pin:
        raise StageError(
            "DigestMismatch",
            f"{path} has the sha256 {actual}, the manifest pins {pin}",
            "The file changed or is not the one that was meant: put the right file there, or pin the new digest.",
            "spec.source.sha256",
        )
    _refuse(checks.file_kind(path))
    step("decoding the protobuf")
    try:
        model = onnx.load_model(path, load_external_data=False)
    except DecodeError as error:
        _refuse([checks.undecodable(path, str(error))])
        raise AssertionError("unreachable") from error
    _refuse(checks.has_graph(model, path))
    step("looking for external data")
    _refuse(checks.external_data(model, directory))
    return model


def _checker(path: Path) -> Iterable[Finding]:
    try:
        # By path: then the checker sees external data, and models above protobuf's 2 GiB.
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        yield checks.CHECKER.error(
            _node_name(words(error)),
            f"the ONNX checker refuses the model: {words(error)}",
            "Export the model again with a current exporter; the message names the node or tensor that breaks the "
            "specification.",
        )


def _inferred(model: Any) -> Any | Finding:
    """The model with inferred shapes, or what went wrong."""
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        return checks.SHAPES.error(
            _node_name(words(error)),
            f"shapes do not fit together: {words(error)}",
            "Look at the node that the message names; give its inputs explicit shapes, and check the dynamic axes of "
            "the export.",
        )


def _node_name(message: str) -> str:
    found = re.search(r"node name: ([^)\s]+)", message) or re.search(r"op_type:\s*(\w+)", message)
    return found.group(1) if found else "graph"


def _known_rank(model: Any) -> set[str]:
    values = (*model.graph.input, *model.graph.output)
    return {value.name for value in values if value.type.tensor_type.HasField("shape")}


def _run(path: Path, model: Any, facts: ModelFacts, several: bool) -> Iterable[Finding]:
    """A session and a run: the only proof that this ONNX Runtime has a kernel for each node."""
    step("creating an ONNX Runtime session")
    try:
        session = open_session(path, Providers()).session
    except StageError:
        raise
    except Exception as error:
        yield _session_finding(model, runtime_message(error))
        return
    signed = signature(model)
    for batch in signed.batch_sizes((1, _MANY_ROWS) if several else (1,)):
        step(f"running the model at batch size {batch}")
        try:
            answers = session.run(None, generate(signed, batch))
        except StageError:
            return  # a datatype without inputs is a finding already
        except Exception as error:
            yield _run_finding(batch, runtime_message(error), several and batch > 1)
            return
        yield from _judge(facts.outputs, answers, batch if several else 0)


def _session_finding(model: Any, message: str) -> Finding:
    if unknown := re.search(r"(?:([\w.]+):)?(\w+)\(-?\d+\) is not a registered function/op", message):
        domain, operator = unknown.groups()
        names = [node.name or node.output[0] for node in graph.nodes(model) if node.op_type == operator]
        return checks.OPERATOR.error(
            names[0] if names else operator,
            f"ONNX Runtime {ort.__version__} does not know the operator {operator} of domain {domain or 'ai.onnx'} at this "
            f"opset; nodes: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}",
            "Export with another opset, or replace the operator by standard ones; libraries of custom operators are not "
            "loaded.",
        )
    if no_kernel := re.search(r"Could not find an implementation for (\S+) node with name '([^']*)'", message):
        operator, name = no_kernel.groups()
        return checks.OPERATOR.error(
            name or operator,
            f"ONNX Runtime {ort.__version__} has no CPU kernel for {operator}, node {name or '(unnamed)'}: the operator "
            "exists, not for these datatypes or this opset",
            "Export with another opset, or cast the node's inputs to FP32.",
        )
    return checks.SESSION.error(
        "session",
        f"ONNX Runtime {ort.__version__} cannot load the model: {message}",
        "The message names the node or tensor; export the model again, or simplify that part of it.",
    )


def _run_finding(batch: int, message: str, ran_with_one: bool) -> Finding:
    if ran_with_one:
        return checks.BATCH.error(
            "graph",
            f"the model runs with one row and fails with {batch}, although its batch axis is dynamic: {message}",
            "A Reshape or constant in the model holds the batch size of the export: use -1 or the input's shape there.",
        )
    return checks.RUN.error(
        "run",
        f"the model fails with inputs made from its signature: {message}",
        "Run it with ONNX Runtime at home; the message names the node. Dynamic axes may hide a size that must hold.",
    )


def _judge(outputs: tuple[Tensor, ...], answers: list[Any], rows: int) -> Iterable[Finding]:
    for output, answer in zip(outputs, answers, strict=True):
        if rows and isinstance(answer, np.ndarray) and (answer.ndim == 0 or answer.shape[0] != rows):
            yield checks.BATCH.error(
                output.name,
                f"output {output.name!r} has the shape {list(answer.shape)} for {rows} rows of input",
                "Every output needs one row per row of input: check what reduces or reshapes the first axis.",
            )
        if isinstance(answer, np.ndarray) and answer.dtype.kind == "f" and not np.isfinite(answer).all():
            yield checks.RUN.warning(
                output.name,
                f"output {output.name!r} holds NaN or infinity for inputs made from the model's signature",
                "Compare with the original framework; a mask or a logarithm of zero may be behind it.",
            )


def _refuse(findings: Iterable[Finding]) -> None:
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return
    first, more = errors[0], [finding.id for finding in errors[1:]]
    further = f" ({len(more)} further: {', '.join(more[:5])}{' …' if len(more) > 5 else ''})" if more else ""
    check = checks.CHECKS[first.id]
    raise StageError(check.reason, clip(first.message, 600) + further, first.fix, check.field)


@cache
def supported() -> tuple[int, int]:
    """The newest opset and IR version that this ONNX Runtime loads: it has no API for that, so it is tried out."""
    opset = next(n for n in range(onnx.defs.onnx_opset_version(), 0, -1) if _loads(n, 8))
    ir = next(n for n in range(int(onnx.IR_VERSION), 0, -1) if _loads(opset, n))
    return opset, ir


def _loads(opset: int, ir: int) -> bool:
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", value[:1], value[1:])
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what it says of the refusals is what we look for, not what a person should read
    try:
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True
