"""Which commands there are, and what a process of each kind loads."""

import json
import subprocess
import sys

import pytest

from onnxmodel_cli.commands import commands, parser
from onnxmodel_runtime.contract.stages import COMMANDS, PULL, PUSH, SWEEP

HEAVY = {"onnx", "onnxruntime", "numpy", "boto3", "urllib3", "tritonclient", "google", "pydantic", "jinja2", "yaml"}


def after(code: str, *, words: tuple[str, ...] = ()) -> set[str]:
    """Top-level packages, and modules of ours, that a process has loaded after this code."""
    shown = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", shown, *words], capture_output=True, text=True, check=True)
    names = json.loads(done.stderr.splitlines()[-1])
    return {name.partition(".")[0] for name in names} | {name for name in names if name.startswith("onnxmodel_")}


def test_everything_that_a_container_runs_is_a_command_for_people_too():
    """But for those of the store of artifacts: on a person's machine there is one folder."""
    assert {command.name for command in commands()} >= set(COMMANDS) - {PULL, PUSH, SWEEP}


def test_each_command_has_one_sentence_of_help():
    shown = parser().format_help()
    for command in commands():
        assert " ".join(command.summary.split()) in " ".join(shown.split())


def test_the_help_loads_neither_the_operator_nor_what_stages_need():
    loaded = after("from onnxmodel_cli.commands import parser\nparser().format_help()")
    assert not loaded & (HEAVY | {"onnxmodel_operator"})


def test_a_job_loads_nothing_of_the_command_line():
    code = "from onnxmodel_cli.__main__ import main\nassert main(['validate', '--request', '{}']) == 10"
    assert {name for name in after(code) if name.startswith("onnxmodel_cli")} == {
        "onnxmodel_cli",
        "onnxmodel_cli.__main__",
    }


@pytest.mark.parametrize(
    "words", [["run", "{manifest}"], ["validate", "{manifest}", "--manifest", "{manifest}"], ["rollout", "abort", "m"]]
)
def test_an_image_of_the_runtime_says_that_the_operator_is_not_in_it(words, tmp_path):
    manifest = tmp_path / "onnxmodel.yaml"
    manifest.write_text("")
    code = "import sys; sys.modules['onnxmodel_operator'] = None; from onnxmodel_cli.__main__ import main; sys.exit(main())"
    given = [word.format(manifest=manifest) for word in words]
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "needs the operator's package, which is not installed here: run it in a clone" in done.stderr
