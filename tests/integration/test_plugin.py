"""`kubectl onnx` on a real API server, by the real kubectl, which finds the plugin on the PATH."""

import json
import subprocess

from dev.kube import found, until
from onnxmodel_runtime.contract.outcome import ExitCode, Failure
from tests import plugin
from tests.integration.support import GOOD, model


def test_the_story_of_a_model_that_is_refused(kube, operator, kubelet):
    kube.apply(model(GOOD, "refused"))
    failure = Failure("OpsetTooLow", "the opset is 7", "Export the model again.")
    kubelet.fail("refused", "validate", ExitCode.REFUSED, failure)
    code, said = plugin.run(kube, "watch", "refused", "--timeout", "60")
    assert code == 10
    assert "refused Failed: the opset is 7" in said
    code, said = plugin.run(kube, "why", "refused")
    assert code == 0
    assert "Stalled (Failed): the opset is 7" in said
    assert "fix: Export the model again. Log: kubectl" in said
    nobody = 'error: Error from server (NotFound): onnxmodels.onnx-operator.dev "nobody" not found\n'
    assert plugin.run(kube, "why", "nobody") == (10, nobody)
    assert plugin.run(kube, "watch", "nobody") == (10, nobody)


def test_the_page_about_a_model_in_a_cluster(kube, operator, kubelet):
    kube.apply(model(GOOD))
    kubelet.live("magika")
    page = plugin.sections()
    everything, one = page["Wait for it"]
    code, said = plugin.run(kube, *one)
    assert (code, said.splitlines()[-1].partition(" ")[2].startswith("magika Ready: fp32 serves")) == (0, True)
    assert plugin.run(kube, *everything)[0] == 11, "the time is over"
    until("its Event", lambda: " Normal Ready: " in plugin.run(kube, "why", "magika")[1])
    text, data = page["Why is it like this?"]
    assert plugin.run(kube, *text)[1].startswith(f"magika in {kube.namespace}: Ready (Ready): fp32 serves")
    told = json.loads(plugin.run(kube, *data)[1])
    assert [stage["state"] for stage in told["stages"]] == ["Succeeded"] * 5
    assert {"StageSucceeded", "TrafficSwitched", "Ready"} <= {event["reason"] for event in told["events"]}
    assert plugin.run(kube, "why", "magika", "-o", "yaml")[1].startswith("name: magika\nnamespace: ")

    suspend, resume, measure, rollout = page["Change it"]
    assert plugin.run(kube, *suspend)[0] == 0
    until("it is held back", lambda: kube.get("onnxmodel", "magika")["status"]["phase"] == "Suspended")
    code, said = plugin.run(kube, *resume)
    assert f"`onnxmodel watch magika --namespace {kube.namespace}` shows it" in said
    until("Ready", found(kube, "magika", true="Ready"))
    assert plugin.run(kube, *rollout)[0] == 0
    idle = "magika: no canary is at a step, so there is nothing to promote\n"
    assert plugin.run(kube, "rollout", "promote", "magika") == (10, idle)
    assert "magika is measured again" in plugin.run(kube, *measure)[1]
    until("a second benchmark", lambda: kube.get("onnxmodel", "magika")["status"]["phase"] == "Benchmarking")


def test_kubectl_completes_it(kube):
    kube.apply(model({**GOOD, "suspend": True}))

    def completed(*words):
        command = [kube.kubectl, "__complete", "onnx", *words]
        done = subprocess.run(
            command, env=plugin.environment(kube), capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.splitlines()

    assert completed("wh") == ["why", ":4"]
    assert completed("why", "--namespace", kube.namespace, "mag") == ["magika", ":4"]
