"""`onnxmodel rollout` where no cluster is needed; tests/integration/test_rollout.py gives the orders to a real one."""

import socket

import pytest

from dev.cluster import golang
from onnxmodel_cli.__main__ import main
from onnxmodel_cli.cluster.kubectl import follow_up
from onnxmodel_cli.commands import rollout
from onnxmodel_cli.parser import Parser
from onnxmodel_operator import names


@pytest.mark.parametrize("action", ["status", "promote"])
def test_a_cluster_that_cannot_be_reached_may_answer_later(action, monkeypatch, capsys, tmp_path):
    with socket.socket() as bound:  # nobody listens
        bound.bind(("127.0.0.1", 0))
        config = tmp_path / "config"
        config.write_text(
            "{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a}}], "
            f"clusters: [{{name: a, cluster: {{server: 'http://127.0.0.1:{bound.getsockname()[1]}'}}}}]}}"
        )
        monkeypatch.setenv("KUBECONFIG", str(config))
        monkeypatch.setenv("PATH", str(golang.program("kubectl").parent))
        assert main(["rollout", action, "magika"]) == 11
    assert "connection" in capsys.readouterr().out


def test_what_kubectl_cannot_do_is_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(golang.program("kubectl").parent))
    assert main(["rollout", "status", "magika", "--context", "nowhere"]) == 10
    assert "context was not found for specified context: nowhere" in capsys.readouterr().out


def test_what_no_later_attempt_changes_is_refused(monkeypatch, capsys, tmp_path):
    config = tmp_path / "config"
    login = "{apiVersion: client.authentication.k8s.io/v1, command: not-installed, interactiveMode: Never}"
    config.write_text(
        "{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}], "
        f"users: [{{name: a, user: {{exec: {login}}}}}], clusters: [{{name: a, cluster: {{server: 'https://127.0.0.1'}}}}]}}"
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.setenv("PATH", str(golang.program("kubectl").parent))
    assert main(["rollout", "status", "magika"]) == 10
    assert "not-installed" in capsys.readouterr().out


STEP = {"revision": "ab12", "strategy": "Canary", "step": 1, "steps": 2}
DONE = {**STEP, "step": 3}


@pytest.mark.parametrize(
    ("action", "status", "said"),
    [
        ("pause", {"rollout": STEP}, "the rollout is held at its step"),
        ("resume", {"rollout": STEP}, "the rollout goes on"),
        ("pause", {"rollout": DONE}, "all steps of the canary are done; the next canary is held at its first step"),
        ("pause", {}, "no revision is rolling out; the next canary is held at its first step"),
        ("pause", {"rollout": {"handled": {"abort": "1"}}}, "no revision is rolling out; the next canary is held"),
        ("resume", {}, "no revision is rolling out; the next canary is not held"),
        (
            "pause",
            {"rollout": {"revision": "ab12", "strategy": "Surge"}},
            "the rollout of ab12 has the strategy Surge, which has no steps to hold; the next canary is held",
        ),
    ],
)
def test_a_pause_claims_no_rollout_that_is_none(action, status, said):
    assert rollout._done(action, {"status": status}).startswith(said)


def test_a_canary_through_its_steps_has_none_to_promote():
    assert rollout._idle("promote", {"status": {"rollout": STEP}}) == ""
    assert rollout._idle("promote", {"status": {"rollout": DONE}}).startswith("no canary is at a step")


def test_what_is_not_paused_is_not_resumed():
    assert rollout._idle("resume", {"metadata": {}}) == "it is not paused, so there is nothing to resume"
    assert rollout._idle("resume", {"metadata": {"annotations": {names.PAUSE: "true"}}}) == ""


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ([], "onnxmodel rollout status magika"),
        (["-n", "demo"], "onnxmodel rollout status magika --namespace demo"),
        (["-n", "demo", "--context", "a b"], "onnxmodel rollout status magika --namespace demo --context 'a b'"),
    ],
)
def test_the_command_that_follows_asks_the_same_place(given, command):
    parser = Parser()
    rollout.COMMAND.arguments(parser)
    assert follow_up(parser.parse_args(["pause", "magika", *given]), "rollout", "status", "magika") == command
