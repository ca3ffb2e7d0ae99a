"""A stage that only waits, from the spec to the status, and on the command line."""

from onnxmodel_cli.__main__ import main
from onnxmodel_runtime.__main__ import main as job
from tests.builders import Cluster, body


def test_the_stage_runs_between_two_others(monkeypatch, tmp_path):
    cluster = Cluster(body())
    for stage in ("validate", "optimize"):
        cluster.settle()
        cluster.succeed(stage)
    cluster.settle()
    assert cluster.status()["phase"] == "Waiting"
    assert cluster.condition("Waited")["status"] == "Unknown"
    monkeypatch.setenv("ONNXMODEL_TERMINATION_LOG", str(tmp_path / "message"))
    (tmp_path / "message").touch()
    assert job(cluster.jobs()["wait"]["spec"]["template"]["spec"]["containers"][0]["args"]) == 0
    cluster.succeed("wait", message=(tmp_path / "message").read_text())
    cluster.settle()
    assert cluster.condition("Waited")["status"] == "True"
    assert cluster.status()["phase"] == "Benchmarking"
    assert [stage["name"] for stage in cluster.status()["stages"]] == ["validate", "optimize", "wait", "benchmark"]


def test_people_can_run_it(capsys):
    assert main(["wait", "--seconds", "0.01"]) == 0
    assert capsys.readouterr().out == "waited  0.01\n"
