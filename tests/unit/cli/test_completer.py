"""Completion of command lines, and the scripts by which shells ask for it."""

import shutil
import subprocess
import sys

import pytest

from onnxmodel_cli import completer
from onnxmodel_cli.__main__ import main
from onnxmodel_cli.commands import commands
from onnxmodel_cli.completer import complete


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """What kubectl would answer, and was asked."""
    asked = []

    def kubectl(*arguments):
        asked.append(arguments)
        return ["magika", "mlp"] if "onnxmodels" in arguments else ["demo", "default"]

    monkeypatch.setattr(completer, "_kubectl", kubectl)
    return asked


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (["wh"], ["why"]),
        (["rollout", "p"], ["pause", "promote"]),
        (["rollout", "promote", "m"], ["magika", "mlp"]),
        (["rollout", "promote", "magika", ""], []),
        (["why", "ma"], ["magika"]),
        (["why", "--name"], ["--namespace"]),
        (["why", "-n", "de"], ["default", "demo"]),
        (["why", "magika", "-o", "j"], ["json"]),
        (["logs", "magika", "--stage", "b"], ["benchmark"]),
        (["completion", ""], ["bash", "fish", "zsh"]),
        (["check", "--dynamic-batch", "A"], ["Allowed"]),
        (["check", "model"], []),
        (["nonsense", "x"], []),
    ],
)
def test_candidates(words, candidates):
    assert complete(words) == candidates


def test_every_command_is_a_candidate():
    assert {command.name for command in commands()} < set(complete([""]))


def test_names_are_those_of_the_namespace_that_was_given(known):
    complete(["why", "-n", "demo", "--context=prod", ""])
    assert known == [("get", "onnxmodels", "-o", "name", "--namespace=demo", "--context=prod")]


def test_a_cluster_that_does_not_answer_completes_nothing(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    assert complete(["why", ""]) == []


def test_kubectl_is_told_what_to_do_where_there_is_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["kubectl_complete-onnx", "rollout", "pr"])
    assert completer.kubectl() == 0
    assert capsys.readouterr().out == "promote\n:4\n"
    monkeypatch.setattr(sys, "argv", ["kubectl_complete-onnx", "check", ""])
    assert completer.kubectl() == 0
    assert capsys.readouterr().out == ":0\n", "files"


def test_bash_completes(tmp_path):
    """With bash itself: the script as printed, and the command on the PATH."""
    program = tmp_path / "onnxmodel"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m onnxmodel_cli "$@"\n')
    program.chmod(0o755)
    script = tmp_path / "completion.bash"
    script.write_text(_printed("bash"))
    ask = f'source {script}; COMP_WORDS=(onnxmodel rollout p); COMP_CWORD=2; _onnxmodel; echo "${{COMPREPLY[@]}}"'
    found = subprocess.run(
        ["bash", "-c", ask], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["pause", "promote"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_takes_its_script(shell, tmp_path):
    script = _printed(shell)
    assert "onnxmodel __complete" in script
    assert "kubectl-onnx" in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True, capture_output=True)


def _printed(shell):
    done = subprocess.run(
        [sys.executable, "-m", "onnxmodel_cli", "completion", shell], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_hidden_command_prints_a_line_for_each(capsys):
    assert main(["__complete", "rollout", "p"]) == 0
    assert capsys.readouterr().out == "pause\npromote\n"
