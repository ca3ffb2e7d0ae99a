"""Output of a stage's end: the exit code, the termination message, the report, words for people."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from onnxmodel_runtime.contract.benchmark import BenchmarkResult
from onnxmodel_runtime.contract.codec import ContractError
from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.optimize import OptimizeResult
from onnxmodel_runtime.contract.outcome import TERMINATION_LOG, ExitCode, Failure, Outcome, decode, encode
from onnxmodel_runtime.contract.store import PushResult
from onnxmodel_runtime.contract.validate import Finding, ValidateResult
from onnxmodel_runtime.errors import clip
from onnxmodel_runtime.sandbox.progress import log
from onnxmodel_runtime.stats import significant

INTERNAL = 1  # not in the contract on purpose: a defect of ours is what the contract calls unexpected


def exit_code(outcome: Outcome) -> int:
    """Return the exit code of the container."""
    if outcome.failure is None:
        return ExitCode.OK
    if outcome.failure.reason == "InternalError":
        return INTERNAL
    return ExitCode.RETRY if outcome.retry else ExitCode.REFUSED


def write_termination_message(outcome: Outcome) -> Outcome:
    """Leave the outcome where the kubelet reads it, and return it as it was written: the exit code must say the same.

    Where nothing reads, nothing is written.
    """
    fitted = _fitted(outcome)
    path = Path(os.environ.get("ONNXMODEL_TERMINATION_LOG", TERMINATION_LOG))
    if str(path) == TERMINATION_LOG and not path.exists():
        return fitted  # no container: the kubelet makes this file
    try:
        path.write_text(encode(fitted))
    except OSError as error:
        log(f"cannot write the termination message: {error}")
    return fitted


def fit(outcome: Outcome) -> str:
    """Encode the outcome as a termination message. A long one loses its least important parts; the report has all."""
    return encode(_fitted(outcome))


def _fitted(outcome: Outcome) -> Outcome:
    for smaller in _ever_smaller(outcome):
        try:
            decode(encode(smaller))  # what compresses well can be too long for the reader
        except ContractError:
            continue
        return smaller
    failure = Failure(
        "InternalError", "the outcome does not fit into a termination message", "Read the report or the log."
    )
    return Outcome(outcome.command, outcome.seconds, failure=failure)


def _ever_smaller(outcome: Outcome) -> Iterator[Outcome]:
    yield outcome
    if outcome.findings:
        for keep, limit in ((40, 300), (20, 300), (10, 300), (5, 200), (3, 150), (1, 150)):
            yield replace(outcome, findings=_fewer_findings(outcome.findings, keep, limit))
        outcome = replace(outcome, findings=())
        yield outcome
    if outcome.failure is not None:
        for limit in (400, 200, 100):
            failure = outcome.failure
            yield replace(
                outcome,
                failure=replace(failure, message=clip(failure.message, limit), hint=clip(failure.hint, limit)),
            )
    match outcome.result:
        case ValidateResult() as result:
            for keep, limit in ((40, 300), (20, 300), (10, 300), (5, 200), (2, 200)):
                yield replace(outcome, result=replace(result, findings=_fewer_findings(result.findings, keep, limit)))
            for keep, limit in ((100, 200), (50, 200), (20, 200), (5, 200), (5, 60), (2, 40)):
                yield replace(outcome, result=_fewer_tensors(result, keep, limit))
        case OptimizeResult() as result:
            result = replace(result, variants=tuple(replace(variant, passes=()) for variant in result.variants))
            yield replace(outcome, result=result)
            for limit in (200, 100, 40):
                yield replace(outcome, result=_shorter_variants(result, limit))
        case BenchmarkResult() as result:
            result = _coarser(result)
            yield replace(outcome, result=result)
            for limit in (60, 20):
                yield replace(outcome, result=_shorter_words(result, limit))
        case PushResult() as result:  # a stage that a model took over chooses how many
            log(
                f"servers pull what was stored: {len(result.images)} images are more than a termination message can name"
            )
            yield replace(outcome, result=None)


def _fewer_tensors(result: ValidateResult, keep: int, limit: int) -> ValidateResult:
    model = result.model
    count = len(model.inputs) + len(model.outputs)
    note = Finding("ONNX-REPORT", "warning", "model", f"only {keep} of {count} inputs and outputs are listed here", "")
    return replace(
        result,
        model=replace(
            model,
            producer=clip(model.producer, limit),
            inputs=tuple(_shorter_tensor(tensor, limit) for tensor in model.inputs[:keep]),
            outputs=tuple(_shorter_tensor(tensor, limit) for tensor in model.outputs[:keep]),
            unranked=tuple(clip(name, limit) for name in model.unranked[:keep]),
        ),
        findings=(*(_shorter_finding(finding, min(limit, 150)) for finding in result.findings[:2]), note),
        uri=clip(result.uri, 10 * limit),
        sizes=result.sizes if keep > 5 else {},
        signer=clip(result.signer, limit),
        unbatched=clip(result.unbatched, limit),
        golden=result.golden
        and replace(result.golden, output=clip(result.golden.output, limit), note=clip(result.golden.note, limit)),
    )


def _fewer_findings(findings: tuple[Finding, ...], keep: int, limit: int) -> tuple[Finding, ...]:
    """The worst come first. What is left out is said, so that nobody takes these for all."""
    kept = tuple(_shorter_finding(finding, limit) for finding in findings[:keep])
    if len(kept) == len(findings):
        return kept
    message = f"{len(findings) - len(kept)} more findings are in the report beside the model and in the log"
    return (*kept, Finding("ONNX-REPORT", "warning", "model", message, ""))


def _shorter_tensor(tensor: Tensor, limit: int) -> Tensor:
    return replace(tensor, name=clip(tensor.name, limit), shape=tensor.shape[:16])


def _shorter_finding(finding: Finding, limit: int) -> Finding:
    cut = {name: clip(getattr(finding, name), limit) for name in ("target", "message", "fix")}
    return replace(finding, **cut)


def _shorter_variants(result: OptimizeResult, limit: int) -> OptimizeResult:
    return replace(
        result,
        lowered=clip(result.lowered, 2 * limit),
        variants=tuple(
            replace(
                variant,
                skipped=clip(variant.skipped, limit),
                note=clip(variant.note, limit),
                parity=variant.parity
                and replace(
                    variant.parity, output=clip(variant.parity.output, limit), note=clip(variant.parity.note, limit)
                ),
            )
            for variant in result.variants
        ),
    )


def _coarser(result: BenchmarkResult) -> BenchmarkResult:
    """Three digits of what decides; benchmark.json has the fourth, and what nobody decides by."""
    return replace(
        result,
        points=tuple(
            replace(
                point,
                p50=significant(point.p50, 3),
                p90=0.0,
                p95=significant(point.p95, 3),
                p99=significant(point.p99, 3),
                throughput=significant(point.throughput, 3),
                samples=int(significant(point.samples, 1)),
                spread=-(-point.spread // 10) * 10,  # up, so that no difference counts that did not count before
            )
            for point in result.points
        ),
        uses={name: replace(use, nodes={}) for name, use in result.uses.items()},
    )


def _shorter_words(result: BenchmarkResult, limit: int) -> BenchmarkResult:
    found = result.environment
    environment = replace(
        found, processor=clip(found.processor, limit), accelerator=clip(found.accelerator, limit), versions={}
    )
    left_out = {name: clip(why, limit) for name, why in result.left_out.items()}
    sizes = {clip(name, limit): size for name, size in result.sizes.items()}
    return replace(result, environment=environment, left_out=left_out, sizes=sizes)


def print_failure(failure: Failure) -> None:
    """Print the failure for the reader of the log."""
    where = f" [{failure.field}]" if failure.field else ""
    log(f"\n{failure.reason}{where}: {failure.message}")
    if failure.hint:
        log(f"hint: {failure.hint}")
