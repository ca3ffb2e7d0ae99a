"""Judge a model: from the first bytes to one real inference, cheap questions first.

Everything here parses untrusted input with native code and runs in the child process of sandbox/parent.py. Our own walks come
before native code: what they refuse is never given to it. All other questions are asked whatever was found before, so that
a person sees every problem at once.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from contextlib import chdir, suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import helper

from onnxmodel_runtime import checks
from onnxmodel_runtime.checks import (
    allocation,
    bounds,
    external,
    file,
    interface,
    memory,
    operators,
    outputs,
    run,
    shapes,
    structure,
    tensors,
    weights,
)
from onnxmodel_runtime.checks import golden as recorded
from onnxmodel_runtime.contract.model import BATCH_NONE, Parity
from onnxmodel_runtime.contract.validate import Finding, ModelFacts, ValidateRequest, ValidateResult
from onnxmodel_runtime.errors import StageError, clip, ran_out_of_memory, words
from onnxmodel_runtime.models import batch_axis, golden, graph, repair, sizes
from onnxmodel_runtime.models.artifact import data_digest
from onnxmodel_runtime.models.digests import check_pin, digest
from onnxmodel_runtime.models.inputs import assumed, signature, symbols
from onnxmodel_runtime.models.records import source_uri
from onnxmodel_runtime.rows.judge import judge_graph
from onnxmodel_runtime.sandbox.progress import log, step

if TYPE_CHECKING:
    from onnxmodel_runtime.signing.signature import Signed

_MANY_ROWS = 3
_MOST_OF_A_KIND = 50  # findings of one check: a model can have as many as tensors
# Errors of these say nothing about whether native code gets along with the model.
_HARMLESS = {checks.OPSET_LOW.id}


# Whatever the author's mode: what reads other files than the model's, and what the platform's own rules are about.
_IN_ANY_MODE = {
    *(checks.EXTERNAL.id, checks.PIN.id),
    *(checks.PRECOMPILED.id, checks.DOMAIN.id),
    *(checks.NODES.id, checks.DEPTH.id),
}


class _Findings(list[Finding]):
    """The findings so far."""

    def note(self, found: Iterable[Finding]) -> bool:
        """Record findings. Returns whether native code may go on with the model."""
        sound = True
        counts = Counter(finding.id for finding in self)
        for finding in found:
            sound &= finding.severity != "error" or finding.id in _HARMLESS
            counts[finding.id] += 1
            if finding in self or counts[finding.id] > _MOST_OF_A_KIND:
                continue
            self.append(finding)
            log(f"{finding.severity} {finding.id} {finding.target}: {finding.message}")
        return sound

    def refuse(self, ids: Container[str] = checks.CHECKS) -> None:
        """Raise StageError for the first error of these checks, with all findings; nothing when there is none."""
        errors = [finding for finding in self.ordered() if finding.severity == "error" and finding.id in ids]
        if not errors:
            return
        first, more = errors[0], [finding.id for finding in errors[1:]]
        further = f" ({len(more)} more: {', '.join(more[:5])}{' …' if len(more) > 5 else ''})" if more else ""
        check = checks.CHECKS[first.id]
        raise StageError(
            check.reason, clip(first.message, 600) + further, first.fix, check.field, findings=self.ordered()
        )

    def ordered(self) -> tuple[Finding, ...]:
        """Return the findings, worst first. Errors of the model come before those that the spec could allow.

        That ONNX Runtime cannot load a model often follows from another error, which says it more clearly.
        """
        return tuple(sorted(self, key=lambda finding: (checks.SEVERITIES.index(finding.severity), _weight(finding))))


def _weight(finding: Finding) -> int:
    if finding.severity != "error":
        return 0
    if finding.id == checks.OPSET_LOW.id:
        return 3
    if finding.id == checks.SESSION.id:
        return 1
    return 0 if checks.CHECKS[finding.id].field == "spec.source.uri" else 2


def validate(request: ValidateRequest) -> ValidateResult:
    """Return the model's facts and the findings. Raises StageError for the first error if the mode is Enforce."""
    directory = Path(request.directory).absolute()
    path = directory / request.file
    findings = _Findings()
    signed = _trusted(request, path)
    model = _read(path, request, findings)
    step("looking for external data")
    reachable = findings.note(external.external_data(model, directory, path))
    reachable = findings.note(external.vouched(model, request, signed.files if signed else None)) and reachable
    sound = _walk(model, request, findings) and reachable
    if sound:
        step("running the ONNX checker")
        sound = findings.note(_checker(path, model, repaired=_repair(model, findings)))
        step("inferring shapes")
        model, found = shapes.infer(model)
        sound = findings.note(found) and sound
        if not any(finding.severity == "error" for finding in found):
            sound = findings.note(memory.static_outputs(model, request.serving_memory)) and sound
    if not reachable:
        findings.refuse()  # in any mode: every stage after this one would read what lies outside
    files = graph.external_files(model, directory)
    facts = graph.facts(model, path, files)
    footprint = memory.Footprint(request.serving_memory)
    session = _load(path, model, findings) if sound else None
    findings.note(footprint.loaded())
    if session is not None:
        facts = replace(facts, outputs=outputs.typed(facts.outputs, session))
    required, several = _interface(model, facts, request, findings)
    if not any(finding.id == checks.TENSOR.id for finding in findings):
        step("reading the weights")
        findings.note(weights.weights(model, directory))
        findings.note(weights.repeated(model, directory))
    seen: dict[str, list[tuple[int, ...]]] = {}
    made: dict[str, int] = {}
    parity, why = None, ""
    if session is not None:
        parity, why = _run(session, model, facts, request, findings, several, seen, footprint, made)
    facts = _outputs(model, facts, request, findings, required and not why, seen)
    if request.mode == "Enforce":
        findings.refuse()
    findings.refuse(_IN_ANY_MODE)
    if 0 < facts.opset < request.opset_floor:
        raise StageError(
            "OpsetTooLow",
            f"the model uses opset {facts.opset}, but this platform requires {request.opset_floor} or newer, "
            "in any mode",
            f"Export with opset_version={request.opset_floor} or newer. The platform team sets this minimum "
            "(settings.policy.minOpset in the chart's values): spec.validation.opset.min cannot lower it.",
            "spec.source.uri",
            findings=findings.ordered(),
        )
    uri, by = source_uri(directory), signed.by if signed else ""
    why = why or _unbatched(model, facts, request)
    step("tracing the rows of a batch through the graph")
    unjoined = judge_graph(model).unjoined if session is not None and not why else None
    data, kept = data_digest(path, files), sizes.kept(made)
    return ValidateResult(facts, findings.ordered(), uri, by, parity, data, kept, clip(why), unjoined)


def _trusted(request: ValidateRequest, path: Path) -> "Signed | None":
    """The bytes are those that were pinned and signed, before anything looks into them. Who signed what."""
    step("inspecting the file")
    if request.sha256 and path.is_file():
        check_pin(str(path), digest(path), request.sha256, "spec.source.sha256")
    for name, pin in request.files.items():
        other = path.parent / name
        check_pin(str(other), digest(other) if other.is_file() else "none", pin, "spec.source.files")
    if request.signature is None:
        return None
    from onnxmodel_runtime.signing.signature import verify

    return verify(request)


def _read(path: Path, request: ValidateRequest, findings: _Findings) -> Any:
    """The model without its external data. What fails here leaves nothing to report on, in any mode."""
    if findings.note(file.file_kind(path)):
        findings.note(file.file_size(path))
    findings.refuse()
    step("decoding the protobuf")
    try:
        model = onnx.load_model(path, load_external_data=False)
    except DecodeError as error:
        findings.note([file.undecodable(path, str(error))])
        findings.refuse()
        raise AssertionError("unreachable") from error
    findings.note(file.has_graph(model, path))
    findings.refuse()
    step("measuring the graph")
    findings.note(bounds.amounts(model, request.max_nodes, request.max_depth))
    findings.refuse(_IN_ANY_MODE)  # further walks would take as long as the model likes
    findings.note(file.names_are_text(model, path))
    findings.refuse({checks.CORRUPT.id})
    return model


def _walk(model: Any, request: ValidateRequest, findings: _Findings) -> bool:
    """Run the checks of our own code, which no model can harm. Returns whether native code may follow."""
    sound = findings.note(interface.versions(model, request, *supported()))
    sound = findings.note(bounds.attribute_sizes(model)) and sound
    sound = findings.note(tensors.tensor_sizes(model)) and sound
    sound = findings.note(structure.dimensions(model)) and sound
    step("tracing the graph's edges")
    finite = findings.note(structure.recursion(model))
    if finite:
        finite = findings.note(bounds.functions(model, request.max_nodes, request.max_depth))
    sound = findings.note(structure.duplicates(model)) and sound and finite
    sound = findings.note(structure.cycles(model)) and sound
    step("comparing operators with those of the execution providers")
    sound = findings.note(operators.domains(model, request.domains)) and sound
    sound = findings.note(operators.precompiled(model)) and sound
    findings.note(operators.providers(model, request))
    findings.note(operators.reproducible(model))
    if finite:
        findings.note(allocation.by_values(model))
    findings.note(weights.unused(model))
    return sound


def _interface(model: Any, facts: ModelFacts, request: ValidateRequest, findings: _Findings) -> tuple[bool, bool]:
    """Inputs, and outputs' datatypes. Whether a batch axis is required, and whether the inputs have one, too."""
    step("comparing inputs and outputs")
    zipmap = any(node.op_type == "ZipMap" for node in graph.nodes(model))
    findings.note(interface.datatypes(facts.inputs, facts.outputs, zipmap=zipmap))
    values = graph.inputs(model)
    unranked = graph.unranked(values)
    findings.note(interface.unranked(unranked))
    asked = request.dynamic_batch == "Required" and request.batch != BATCH_NONE and not unranked
    why = batch_axis.by_nature(facts.inputs, symbols(values)) if asked else ""
    findings.note(interface.no_batch(why))
    required = asked and not why
    several = required and findings.note(interface.batch_axes("input", facts.inputs))
    optional = tuple(graph.describe(value) for value in graph.overridable(model))
    findings.note(
        interface.contract(checks.CONTRACT_INPUT, request.inputs, facts.inputs, optional=optional, unranked=unranked)
    )
    return required, several


def _unbatched(model: Any, facts: ModelFacts, request: ValidateRequest) -> str:
    """Return why there is no batch axis, from the signature and the outputs that runs showed. "" if there is one."""
    if request.batch == BATCH_NONE:
        return "spec.validation.batch is None"
    values = graph.inputs(model)
    for name in sorted(graph.unranked(values)):
        return f"input {name!r} declares no shape"
    if why := batch_axis.by_nature(facts.inputs, symbols(values)):
        return why
    named = symbols((*values, *model.graph.output))
    return batch_axis.absent(facts.inputs, facts.outputs, symbols=named, unranked=facts.unranked)


def _load(path: Path, model: Any, findings: _Findings) -> Any:
    session = run.load(path, model)
    if isinstance(session, Finding):
        findings.note([session])
        return None
    return session


def _run(
    session: Any,
    model: Any,
    facts: ModelFacts,
    request: ValidateRequest,
    findings: _Findings,
    batched: bool,
    seen: dict[str, list[tuple[int, ...]]],
    footprint: memory.Footprint,
    made: dict[str, int],
) -> tuple[Parity | None, str]:
    """Run it, compare it with the golden data; and why there is no batch, as golden data tell.

    seen: takes the outputs' shapes; made: the sizes of made inputs' axes.
    """
    largest = (request.max_batch_size,) if request.max_batch_size > 1 else ()
    batches = tuple(sorted({1, _MANY_ROWS, *largest})) if batched else (1,)
    masks = run.masks(model, [*findings])
    tried = partial(
        run.run, session, model, facts.outputs, known=request.batch, seen=seen, footprint=footprint, masks=masks
    )
    unsized = signature(model, request.batch, request.sizes)
    unsized = assumed(unsized) if len(batches) > 1 else unsized
    if request.golden is None:
        settled = sizes.settle(session, unsized, lambda: model)
        looks = unsized.first_axes and not unsized.unbatched
        if looks and (other := sizes.without_batch(session, unsized, settled, lambda: model)):
            findings.note(interface.sizes(request.sizes, other.signed))
            findings.note(interface.no_batch(other.signed.unbatched))
            made.update(other.signed.sizes)
            findings.note(tried((1,), known=BATCH_NONE, sizes=made))
            return None, other.signed.unbatched
        findings.note(interface.sizes(request.sizes, unsized))
        if settled.error is not None and settled.signed.axes:
            findings.note([run.no_sizes(settled, settled.error)])
            return None, ""
        made.update(settled.signed.sizes)
        findings.note(tried(batches, sizes=made))
        return None, ""
    findings.note(interface.sizes(request.sizes, unsized))
    parity, found = recorded.compare_sets(session, request, facts.inputs, facts.outputs)
    findings.note(found)
    why = ""
    with suppress(golden.GoldenError):  # which is a finding already
        whole = request.batch == BATCH_NONE or bool(assumed(signature(model)).unbatched)
        sample = golden.sample(golden.place(request), facts.inputs, facts.outputs, batched=not whole)
        if not any(finding.id == checks.GOLDEN_DATA.id for finding in found):
            findings.note(tried(batches if sample.shared else (1,), sample.rows))
            why = "" if whole or sample.shared else golden.DIFFERENT_ROWS
    return parity, why


def _outputs(
    model: Any, facts: ModelFacts, request: ValidateRequest, findings: _Findings, required: bool, seen: outputs.Seen
) -> ModelFacts:
    """Judge the outputs by what runs showed, and by what the file declares where nothing ran with several rows.

    required: whether a batch axis is.
    """
    unknown, any_rank = graph.unranked(model.graph.output), graph.unranked(graph.inputs(model))
    # What has the rank of an input that takes any has any.
    served = facts.outputs if any_rank else outputs.corrected(facts.outputs, unknown, seen)
    # What a run showed of an output says more than its declaration.
    shown = {finding.target for finding in findings if finding.id == checks.BATCH.id}
    findings.note(outputs.differences(facts.outputs, served, unknown, outputs.by_row(seen) - shown))
    if required and not any(len(shapes) > 1 for shapes in seen.values()):
        left = tuple(each for each in facts.outputs if each.name not in unknown | shown)
        findings.note(interface.batch_axes("output", left))
    findings.note(interface.empty_axes(facts.inputs, served))
    findings.note(interface.labels(model, served))
    findings.note(interface.contract(checks.CONTRACT_OUTPUT, request.outputs, served, in_file=facts.outputs))
    unranked = any_rank | (unknown if any_rank else unknown - seen.keys())
    return replace(facts, outputs=served, unranked=tuple(sorted(unranked)))


def _repair(model: Any, findings: _Findings) -> bool:
    """Repair what ONNX Runtime repairs, and say so. Whether anything had to be."""
    made = repair.repair(model)
    findings.note(checks.REPAIRED.info(target, f"{what}; ONNX Runtime accepts it") for target, what in made)
    return bool(made)


def _checker(path: Path, model: Any, *, repaired: bool) -> Iterator[Finding]:
    checkable = repair.checkable(model)
    try:
        if repaired or checkable is not None:
            with chdir(path.parent):  # where the checker looks for external data of a model in memory
                onnx.checker.check_model(checkable if checkable is not None else model)
        else:
            # By path: then the checker sees models above protobuf's 2 GiB.
            onnx.checker.check_model(str(path))
    except Exception as error:  # what is bad enough makes native code raise whatever it meets
        if ran_out_of_memory(error):
            raise
        yield checks.CHECKER.error(shapes.node_in(words(error)), f"the ONNX checker rejects the model: {words(error)}")


@cache
def supported() -> tuple[int, int]:
    """Return the newest opset and IR version that this ONNX Runtime loads, by trial: it has no API for that."""
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
