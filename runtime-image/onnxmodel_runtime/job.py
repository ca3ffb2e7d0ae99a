"""A command of the runtime image from request to outcome: in a Job, or in the process of the command line."""

import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from onnxmodel_runtime.contract.outcome import Failure, Outcome
from onnxmodel_runtime.contract.stages import COMMANDS, FETCH, Request, Result
from onnxmodel_runtime.contract.validate import Finding, ValidateRequest
from onnxmodel_runtime.errors import StageError, clip
from onnxmodel_runtime.models.records import accept, write_report
from onnxmodel_runtime.sandbox import parent
from onnxmodel_runtime.sandbox.exposure import check_no_identity
from onnxmodel_runtime.sandbox.termination import print_failure
from onnxmodel_runtime.stages import apart, work


def complete(
    command: str, request: Request, *, local: bool = False, word: Callable[[Outcome], Outcome] | None = None
) -> Outcome:
    """Run a command as a Job does: its report lies beside the artifact, and its log shows the outcome.

    local, word: as in `run`.
    """
    outcome = run(command, request, local=local, word=word)
    if (path := COMMANDS[command].report(request)) is not None:
        write_report(outcome, Path(path))
    if isinstance(request, ValidateRequest) and outcome.result is not None:
        accept(Path(request.directory))
    print_outcome(outcome)
    if outcome.failure is not None:
        print_failure(outcome.failure)
    return outcome


def run(
    command: str, request: Request, *, local: bool = False, word: Callable[[Outcome], Outcome] | None = None
) -> Outcome:
    """Run a command to its outcome, whatever happens.

    local: on a person's machine, where local files may be read. word: how the outcome is worded for that person.
    """
    started = time.monotonic()
    result: Result | None = None
    failure: Failure | None = None
    findings: tuple[Finding, ...] = ()
    retry = False
    # The first process of a container ignores SIGTERM unless it says what to do then.
    previous = signal.signal(signal.SIGTERM, _stop)
    try:
        if COMMANDS[command].isolated:
            check_no_identity()
            result = apart.run(command, request)
        elif command == FETCH:
            from onnxmodel_runtime.stages.fetch import take_credentials  # brings the clients of sources

            take_credentials()
            work(command)(request, local=local)
        else:
            result = work(command)(request)
    except StageError as error:
        failure, retry, findings = error.failure, error.retry, error.findings
    except _Stopped:
        failure, retry = (
            Failure("Interrupted", f"{command} was asked to terminate", "A Job retries it automatically."),
            True,
        )
    except Exception as error:
        if not isinstance(error, parent.InternalError):  # of which the child's traceback tells, and this one would not
            traceback.print_exc()
        failure = defect(error)
    finally:
        signal.signal(signal.SIGTERM, previous)
    outcome = Outcome(command, round(time.monotonic() - started, 3), result, failure, retry, findings)
    return word(outcome) if word else outcome


def print_outcome(outcome: Outcome) -> None:
    """Print the result, or the findings of a model that was refused."""
    from onnxmodel_runtime.reporting import tables

    if outcome.result is not None:
        print(tables.text(outcome.result), flush=True)
    elif outcome.findings:
        print(tables.findings(outcome.findings), flush=True)


def defect(error: Exception) -> Failure:
    """Return the failure that stands for an exception that nobody expected."""
    hint = "This is a bug in onnxmodel: please report it with the log. It is retried a few times."
    what = str(error) if isinstance(error, parent.InternalError) else f"{type(error).__name__}: {error}"
    return Failure("InternalError", clip(what), hint)


class _Stopped(BaseException):
    """SIGTERM came. No Exception: code that tries again after any error must not try again after this."""


def _stop(_signum: int, _frame: FrameType | None) -> None:
    raise _Stopped
