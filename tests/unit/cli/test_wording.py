"""What is worded for a person's machine names options, and no cluster."""

import errno
import re
from pathlib import Path
from typing import Any

import pytest

from onnxmodel_cli.wording import in_options, worded
from onnxmodel_runtime.checks import CHECKS, Check
from onnxmodel_runtime.contract.outcome import Failure, Outcome
from onnxmodel_runtime.errors import out_of_memory, storage_error
from onnxmodel_runtime.rows.joining import NO_DELAY, ONE_ROW
from onnxmodel_runtime.sandbox import parent


@pytest.mark.parametrize("options", [(), ("--memory",)])
@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (out_of_memory("running", "no more"), "Run it with more memory"),
        (storage_error(OSError(errno.ENOSPC, "full"), Path("/tmp")), "Free space there"),
        (storage_error(OSError(errno.EACCES, "no", "/tmp"), Path("/tmp")), "Make the folder writable"),
        (parent.died(-15, "optimize", "running"), "Run it again."),
    ],
)
def test_hints_on_a_laptop_speak_of_no_cluster(error: Any, hint: str, options: tuple[str, ...]) -> None:
    told = worded(Outcome("optimize", 0.0, failure=error.failure), options).failure
    assert told is not None
    assert told.hint.startswith(hint)
    assert not re.search("spec|chart|pod|PersistentVolume|Job", told.hint)


@pytest.mark.parametrize("check", CHECKS.values(), ids=str)
def test_every_fix_can_be_said_in_options(check: Check) -> None:
    told = in_options(check.fix, ["--batch", "--golden", "--opset-min", "--memory"])
    for match in re.finditer(r"spec\.[A-Za-z.]+\w(.{11})?", told):
        assert match[1] == " of a manif", told


def test_a_servers_sentences_name_options() -> None:
    options = ["--max-queue-delay", "--max-batch-size", "--fallback"]
    assert in_options(NO_DELAY, options) == "--max-queue-delay is 0: no request waits for another"
    assert in_options(ONE_ROW, options) == "--max-batch-size is 1"
    told = worded(Outcome("serve", 0.0, failure=Failure("ProviderUnavailable", "no CUDA", "")), options).failure
    assert told is not None
    assert told.hint.endswith("(--fallback Allow).")
