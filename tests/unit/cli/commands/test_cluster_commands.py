"""Commands on models in a cluster, where no cluster is needed; tests/integration/test_plugin.py runs them on a real one."""

import io
import json
import subprocess
import sys

import pytest

from onnxmodel_cli.__main__ import main
from onnxmodel_cli.cluster.kubectl import KubectlError
from onnxmodel_cli.commands import logs, watch
from tests import plugin
from tests.builders import Cluster, body

ON_A_CLUSTER = [
    ["why", "m"],
    ["watch", "m"],
    ["logs", "m"],
    ["infer", "m"],
    ["bench", "m"],
    ["suspend", "m"],
    ["resume", "m"],
    ["measure", "m"],
    ["report", "m", "-n", "demo"],
]

HEAVY = [
    "onnx",
    "onnxruntime",
    "numpy",
    "boto3",
    "urllib3",
    "tritonclient",
    "aiohttp",
    "orjson",
    "prometheus_client",
]


@pytest.mark.parametrize("words", ON_A_CLUSTER, ids=lambda words: words[0])
def test_without_kubectl_it_says_so(words, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "kubectl is not on the PATH" in capsys.readouterr().err


@pytest.mark.parametrize("words", ON_A_CLUSTER, ids=lambda words: words[0])
def test_it_needs_no_package_of_a_stage(words):
    """`pip install onnxmodel-operator[cli]` is enough; test_main.py has the names of the packages."""
    code = (
        f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\n"
        "import os; os.environ['PATH'] = ''\n"
        "from onnxmodel_cli.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "kubectl is not on the PATH" in done.stderr


def test_render_needs_no_package_of_a_stage_either():
    code = f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\nfrom onnxmodel_cli.__main__ import main; sys.exit(main())"
    words = ["render", "-f", "examples/minimal/onnxmodel.yaml"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["check", "m.onnx"], ["run", "m.yaml"], ["serve", "m.onnx", "--name", "m"]])
def test_what_works_on_files_names_the_packages_that_it_needs(words):
    code = "import sys; sys.modules['onnx'] = None; from onnxmodel_cli.__main__ import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'onnxmodel-operator[cli,runtime-cpu]'" in done.stderr


def test_the_page_without_a_cluster(capsys):
    short, long = plugin.sections()["Without a cluster"]
    assert main(short[2:]) == 0
    assert "kind: Deployment" in capsys.readouterr().out
    assert main(long[2:]) == 0
    assert {"Deployment", "Service"} < {item["kind"] for item in json.loads(capsys.readouterr().out)["items"]}


def test_each_section_of_the_page_is_run_by_a_test():
    """ "Completion" is run by tests/unit/cli/test_completer.py, and the others by the tests named plugin."""
    integration, e2e = {"Why is it like this?", "Wait for it", "Change it"}, {"Logs", "Ask it", "The report"}
    assert set(plugin.sections()) == {*integration, *e2e, "Without a cluster", "Completion"}


@pytest.mark.parametrize(
    ("name", "said"), [("kubectl-onnx", "usage: kubectl onnx why"), ("onnxmodel", "usage: onnxmodel why")]
)
def test_the_help_has_the_name_that_was_called(name, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"/usr/bin/{name}"])
    with pytest.raises(SystemExit):
        main(["why", "--help"])
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize("data", ["[]", '{"a": 1}', "nonsense"])
def test_data_that_is_no_request_is_refused(data, tmp_path, monkeypatch, capsys):
    path = tmp_path / "request.json"
    path.write_text(data)
    monkeypatch.setattr("onnxmodel_cli.cluster.kubectl.shutil.which", lambda _: "/bin/false")
    with pytest.raises(SystemExit, match="2"):
        main(["infer", "m", "--data", str(path)])
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize("shape", ["x", "x=", "x=1,a", "=1"])
def test_a_shape_that_is_none_is_refused(shape, monkeypatch, capsys):
    monkeypatch.setattr("onnxmodel_cli.cluster.kubectl.shutil.which", lambda _: "/bin/false")
    with pytest.raises(SystemExit, match="2"):
        main(["infer", "m", "--shape", shape])
    assert "is not INPUT=1,3,224,224" in capsys.readouterr().err


def test_a_stream_of_objects_is_read_as_it_comes():
    text = "".join(json.dumps({"a": {"b": number}}, indent=4) + "\n" for number in range(3))
    assert [each["a"]["b"] for each in watch._objects(io.StringIO(text))] == [0, 1, 2]


def test_the_log_is_that_of_the_stage_at_work_or_of_the_servers():
    cluster = Cluster(body())
    model = lambda: cluster.objects["OnnxModel", "team-a", "magika"]  # noqa: E731
    with pytest.raises(KubectlError, match="no revision of magika receives traffic"):
        logs._target(model(), None)
    cluster.settle()
    job = cluster.jobs()["validate"]["metadata"]["name"]
    assert logs._target(model(), None) == [f"job/{job}"]
    with pytest.raises(KubectlError, match="stage probe of magika has not begun"):
        logs._target(model(), "probe")
    cluster.live()
    selector = cluster.status()["serving"]["selector"]
    assert logs._target(model(), None) == ["--selector", selector]
    assert logs._target(model(), "validate") == [f"job/{job}"]
