"""A corpus of bad files through the whole path of a Job: none is accepted, and each ends with a reason."""

import os
import re
import sys
from pathlib import Path

import pytest

from onnxmodel_runtime.contract.validate import ValidateRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sandbox import parent
from onnxmodel_runtime.stages import apart
from tests import badmodels

CLASSES = ("2022-25882", "2024-27318", "2024-27319", "2026-27489", "2026-34445", "2026-34446", "2026-34447")
GROUP = 12
NAMES = sorted(badmodels.BAD)


def test_the_corpus_is_large_and_has_every_class() -> None:
    assert len(NAMES) >= 60
    for number in CLASSES:
        assert any(f"CVE-{number}" in name for name in NAMES)
    assert any("GHSA-7w46" in name for name in NAMES)


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child gets memory as in a container: this machine's would let bombs go off for minutes."""
    limits = tmp_path / "limited"
    limits.write_text(f'#!/bin/sh\nulimit -d {1 << 20}\nexec {sys.executable} "$@"\n')
    limits.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(limits))


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("first", range(0, len(NAMES), GROUP))
def test_each_is_refused_for_its_reason(tmp_path: Path, first: int) -> None:
    wrong = {}
    for name in NAMES[first : first + GROUP]:
        folder = badmodels.build(name, tmp_path / re.sub(r"\W", "-", name))
        ended = ended_with(folder)
        if ended != badmodels.BAD[name][1]:
            wrong[name] = f"{ended}, not {badmodels.BAD[name][1]}"
    assert wrong == {}


def ended_with(folder: Path, mode: str = "Enforce") -> str:
    """The reason; or what should never be: accepted, or an exception that nobody expected."""
    try:
        apart.run("validate", ValidateRequest(str(folder), mode=mode))
    except StageError as error:
        return error.failure.reason if error.failure.hint and not error.retry else f"{error}, without a hint or retried"
    except parent.InternalError as error:
        return f"InternalError {error}"
    return "accepted"


@pytest.mark.parametrize("name", ["GHSA-7w46-function-calls-itself", "SIGFPE-depth-to-space"])
def test_warn_lets_pass_and_gives_native_code_none_of_it(tmp_path: Path, name: str) -> None:
    assert ended_with(badmodels.build(name, tmp_path / "model"), "Warn") == "accepted"


@pytest.mark.parametrize("name", ["external-CVE-2022-25882-parent", "external-CVE-2026-34446-hardlink"])
def test_warn_never_reads_outside(tmp_path: Path, name: str) -> None:
    assert ended_with(badmodels.build(name, tmp_path / "model"), "Warn") == "ExternalDataInvalid"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_no_data(tmp_path: Path) -> None:
    folder = badmodels.build("external-missing", tmp_path / "model")
    try:
        os.mknod(folder / "weights.bin", 0o666 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("no devices can be made here")
    assert ended_with(folder) == "ExternalDataInvalid"
