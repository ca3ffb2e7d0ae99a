"""A canary on a real API server, by the command line: what it selects, says and is told to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev.kube import condition, found, is_true, until
from onnxmodel_operator import names
from tests.integration.support import GOOD, model

STEPS = [{"weight": 25, "pause": "Manual"}, {"weight": 50, "pause": "Manual"}]
ROLLOUT = {"strategy": "Canary", "steps": STEPS, "gates": {"mode": "Warn"}}


@pytest.fixture
def onnxmodel(kube):
    """The command line, with the kubectl of this cluster."""
    environment = kube.environment()
    environment["PATH"] = f"{Path(kube.kubectl).parent}:{environment.get('PATH', os.environ['PATH'])}"

    def run(*arguments):
        command = [sys.executable, "-m", "onnxmodel_cli", "rollout", *arguments, "--namespace", kube.namespace]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return run


def order(onnxmodel, action):
    done = onnxmodel(action, "magika")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def selected(kube):
    return kube.get("service", "magika")["spec"]["selector"]


def step(kube, number):
    def reached():
        rollout = kube.get("onnxmodel", "magika")["status"].get("rollout", {})
        return rollout if (rollout.get("step"), bool(rollout.get("since"))) == (number, True) else None

    return until(f"step {number}", reached)


def test_a_canary_is_promoted_aborted_retried_and_paused_by_hand(kube, operator, kubelet, onnxmodel):
    kube.apply(model({**GOOD, "serving": {"replicas": 3}, "rollout": ROLLOUT}))
    kubelet.live("magika")
    old = until("Ready", found(kube, "magika", true="Ready"))["status"]["active"]["revision"]
    idle = (("abort", "no revision is rolling out"), ("promote", "no canary"), ("retry", "no revision"))
    for action, words in (*idle, ("resume", "it is not paused")):
        done = onnxmodel(action, "magika")
        assert (done.returncode, words in done.stdout) == (10, True), "an order that nothing follows is none"
    kube.delete("jobs", "--all")  # of the next revision they are others, and the kubelet plays the first that it finds
    kube.patch("onnxmodel", "magika", {"spec": {"serving": {"accessLog": True}}})
    kubelet.available("magika")
    kubelet.succeed("magika", "loadtest")
    new = step(kube, 1)["revision"]
    assert selected(kube) == {names.LABEL_MODEL: "magika", names.LABEL_SERVER: "true"}
    told = order(onnxmodel, "status")
    assert f"serving: {old}, 3/3 replicas ready" in told
    assert f"rolling out: {new}, Canary (spec.rollout.strategy)" in told
    assert "step: 1 of 2, weight 25 %, since " in told
    assert f"traffic: {new} wanted 25 %, ready 25 %" in told

    order(onnxmodel, "abort")
    stalled = until("aborted", found(kube, "magika", true="Stalled"))
    assert condition(stalled, "Stalled")["reason"] == "RolloutAborted"
    assert selected(kube)[names.LABEL_REVISION] == old
    assert f"refused: {new}, RolloutAborted at " in order(onnxmodel, "status")
    until("no pod of it is left", lambda: not kube.list("pods", f"{names.LABEL_REVISION}={new}"))

    order(onnxmodel, "retry")
    kubelet.available("magika")
    step(kube, 1)
    follow_up = f"`onnxmodel rollout status magika --namespace {kube.namespace}` shows it"
    assert order(onnxmodel, "pause") == f"magika: the rollout is held at its step; {follow_up}\n"
    until("paused", lambda: kube.get("onnxmodel", "magika")["status"]["reason"] == "CanaryPaused")
    order(onnxmodel, "resume")
    order(onnxmodel, "promote")
    kubelet.available("magika")
    step(kube, 2)
    order(onnxmodel, "promote")
    kubelet.succeed("magika", "probe")
    ready = until("Ready", found(kube, "magika", true="Ready"))
    assert ready["status"]["active"]["revision"] == new
    assert selected(kube)[names.LABEL_REVISION] == new
    until("the old one is gone", lambda: len(kube.list("deployments")) == 1)
    assert is_true(ready, "Available")


def test_an_order_to_a_model_that_is_not_there_says_so(onnxmodel):
    done = onnxmodel("promote", "absent")
    assert done.returncode == 10
    assert '"absent" not found' in done.stdout


def test_without_kubectl_it_says_what_to_install(kube):
    command = [sys.executable, "-m", "onnxmodel_cli", "rollout", "promote", "magika"]
    done = subprocess.run(command, env={**kube.environment(), "PATH": ""}, capture_output=True, text=True)
    assert done.returncode == 2
    assert "kubectl is not on the PATH: install it" in done.stderr
