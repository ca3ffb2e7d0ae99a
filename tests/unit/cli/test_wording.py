"""What is worded for a person's machine names options, and no cluster."""

import ast
import errno
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxmodel_cli.wording import _HINTS, in_options, worded
from onnxmodel_runtime.checks import CHECKS, Check
from onnxmodel_runtime.contract.outcome import Failure, Outcome
from onnxmodel_runtime.errors import StageError, out_of_memory, storage_error
from onnxmodel_runtime.rows.joining import NO_DELAY, ONE_ROW
from onnxmodel_runtime.sandbox import parent
from onnxmodel_runtime.sources.source import forbidden, secret_invalid, untrusted


@pytest.mark.parametrize("options", [(), ("--memory",)])
@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (out_of_memory("running", "no more"), "Run it with more memory"),
        (storage_error(OSError(errno.ENOSPC, "full"), Path("/tmp")), "Free space there"),
        (storage_error(OSError(errno.EACCES, "no", "/tmp"), Path("/tmp")), "Give your user permission to use it"),
        (parent.died(-15, "optimize", "running"), "Run it again."),
    ],
)
def test_hints_on_a_laptop_speak_of_no_cluster(error: Any, hint: str, options: tuple[str, ...]) -> None:
    told = worded(Outcome("optimize", 0.0, failure=error.failure), options).failure
    assert told is not None
    assert told.hint.startswith(hint)
    assert not re.search("spec|chart|pod|PersistentVolume|Job", told.hint)


CLUSTER = re.compile(r"PersistentVolume|\bpods?\b|kubectl|is retried|namespace|artifacts volume|\bJobs?\b")


def hints() -> Iterator[tuple[set[str], str]]:
    """The reasons and the hint of every failure that the runtime writes."""
    for path in (Path(__file__).parents[3] / "runtime-image").rglob("*.py"):
        tree = ast.parse(path.read_text())
        constants = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(tree):
            name = getattr(call.func, "id", "") if isinstance(call, ast.Call) else ""
            if isinstance(call, ast.Call) and name in ("StageError", "Failure") and len(call.args) > 2:
                reason, _, hint = call.args[:3]
                pairs = [(reason, hint)]
                if isinstance(reason, ast.IfExp) and isinstance(hint, ast.IfExp):
                    pairs = [(reason.body, hint.body), (reason.orelse, hint.orelse)]
                for one, other in pairs:
                    yield set(texts(one, constants)), " ".join(texts(other, constants))


def texts(node: ast.AST, constants: dict[str, ast.expr]) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value
        elif isinstance(inner, ast.Name) and inner.id in constants:
            yield from texts(constants[inner.id], {})


def test_every_hint_that_speaks_of_a_cluster_has_another_for_a_person() -> None:
    """Unless it says so itself. A revision is asked for in a cluster only."""
    speaking = [(reasons, hint) for reasons, hint in hints() if CLUSTER.search(hint)]
    assert len(speaking) > 10
    assert [
        (reasons, hint)
        for reasons, hint in speaking
        if reasons - _HINTS.keys() - {"RevisionMismatch"} and "in a cluster" not in hint.lower()
    ] == []


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (secret_invalid("no key", "Write it in PEM."), "Write it in PEM. It comes from the environment."),
        (forbidden("s3://a/b", "403"), "Check the credentials in the environment, and their permissions."),
        (
            untrusted("https://a/b", "self-signed"),
            "Add the server's certificate authority in PEM as CA_CERTIFICATES to the environment.",
        ),
        (
            StageError(
                "SourceRejected", "no", "Use s3, or ask the platform team to add it to settings.policy.sources."
            ),
            "Use s3.",
        ),
    ],
)
def test_a_local_fetch_has_neither_a_secret_nor_a_platform_team(error: StageError, hint: str) -> None:
    told = worded(Outcome("fetch", 0.0, failure=error.failure), ["--sha256"]).failure
    assert told is not None
    assert (told.hint, told.field) == (hint, "")


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


def said(node: ast.AST, constants: dict[str, str]) -> str:
    """A sentence as the code writes it, with the constants in it, and "…" for what only a run knows."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(said(part, constants) for part in parts)
        case ast.FormattedValue(value=value):
            return said(value, constants)
        case ast.Name(id=name):
            return constants.get(name, "…")
    return "…"


def cluster_words() -> Iterator[str]:
    """Every sentence of the runtime that speaks of a Secret or of the platform team, in a call's argument."""
    trees = [ast.parse(path.read_text()) for path in (Path(__file__).parents[3] / "runtime-image").rglob("*.py")]
    constants = {
        target.id: node.value.value
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if getattr(call.func, "id", "") in ("print", "log"):
            continue
        for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
            for value in (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,):
                if re.search(r"platform team|\bSecret\b", text := said(value, constants)):
                    yield text


def test_no_hint_sends_a_person_to_a_secret_or_a_platform_team() -> None:
    sentences = [*cluster_words()]
    assert len(sentences) > 8
    left = []
    for text in sentences:
        told = worded(Outcome("fetch", 0.0, failure=Failure("Any", "", text)), ["--sha256"]).failure
        assert told is not None
        if re.search(r"platform team|\bSecret\b", told.hint) and "settings.policy.minOpset" not in text:  # run's alone
            left.append(told.hint)
    assert left == []
