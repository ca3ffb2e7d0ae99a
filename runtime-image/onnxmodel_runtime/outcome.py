"""How a stage's end leaves the container: the exit code, the termination message, the report, words for people."""

import dataclasses
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from onnxmodel_runtime.contract import (
    TERMINATION_LOG,
    ContractError,
    ExitCode,
    Failure,
    Finding,
    Outcome,
    ValidateResult,
    dumps,
    encode,
)
from onnxmodel_runtime.errors import clip
from onnxmodel_runtime.progress import log

INTERNAL = 1  # not in the contract on purpose: a defect of ours is what the contract calls unexpected


def exit_code(outcome: Outcome) -> int:
    """What Kubernetes sees."""
    if outcome.failure is None:
        return ExitCode.OK
    if outcome.failure.reason == "InternalError":
        return INTERNAL
    return ExitCode.RETRY if outcome.retry else ExitCode.REFUSED


def write_termination_message(outcome: Outcome) -> None:
    """Leave the outcome where the kubelet reads it. Where nothing reads, nothing is written."""
    path = Path(os.environ.get("ONNXMODEL_TERMINATION_LOG", TERMINATION_LOG))
    if str(path) == TERMINATION_LOG and not path.exists():
        return  # no container: the kubelet makes this file
    try:
        path.write_text(fit(outcome))
    except OSError as error:
        log(f"the termination message cannot be written: {error}")


def write_report(outcome: Outcome, path: Path) -> None:
    """The whole outcome, beside the artifact. A volume that is mounted read-only gets none."""
    partial = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        partial.write_text(dumps(outcome))
        partial.replace(path)
    except OSError as error:
        log(f"no report beside the artifact: {error}")


def validation_report(directory: Path) -> Path:
    """Where validate leaves its report on the model in `directory`: beside it, for the folder is the model's alone."""
    return directory.with_name(f"{directory.name}.validate.json")


def fit(outcome: Outcome) -> str:
    """The outcome as a termination message. What is too long loses its least important parts; the report has all."""
    for smaller in _ever_smaller(outcome):
        try:
            return encode(smaller)
        except ContractError:
            continue
    failure = Failure("InternalError", "the outcome does not fit a termination message", "Read the report or the log.")
    return encode(Outcome(outcome.command, outcome.seconds, failure=failure))


def _ever_smaller(outcome: Outcome) -> Iterator[Outcome]:
    yield outcome
    if outcome.failure is not None:
        for limit in (400, 200, 100):
            failure = outcome.failure
            yield replace(
                outcome,
                failure=replace(failure, message=clip(failure.message, limit), hint=clip(failure.hint, limit)),
            )
    if isinstance(outcome.result, ValidateResult):
        result = outcome.result
        for keep in (20, 10, 5, 2):
            kept = tuple(replace(finding, message=clip(finding.message, 300)) for finding in result.findings[:keep])
            yield replace(outcome, result=replace(result, findings=kept))
        for keep in (100, 50, 20, 5):
            yield replace(outcome, result=_fewer_tensors(result, keep))


def _fewer_tensors(result: ValidateResult, keep: int) -> ValidateResult:
    model = result.model
    count = len(model.inputs) + len(model.outputs)
    note = Finding("ONNX-REPORT", "warning", "model", f"only {keep} inputs and outputs of {count} are listed here", "")
    return replace(
        result,
        model=dataclasses.replace(model, inputs=model.inputs[:keep], outputs=model.outputs[:keep]),
        findings=(*(replace(finding, message=clip(finding.message, 150)) for finding in result.findings[:2]), note),
    )


def print_failure(failure: Failure) -> None:
    """For whoever reads the log."""
    where = f" [{failure.field}]" if failure.field else ""
    print(f"\n{failure.reason}{where}: {failure.message}", file=sys.stderr)
    if failure.hint:
        print(f"hint: {failure.hint}", file=sys.stderr)
    sys.stderr.flush()
