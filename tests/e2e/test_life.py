"""A model's life by each runtime, with real pods: served, asked by every flavour of client, hurt, moved, changed, removed.

All that the tests ask for is applied at once, for both runtimes: it is pods that take the time.
"""

import base64
import json
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from dev import magika
from dev.kube import condition, found, is_true, until
from dev.platform import SECURE_CONTAINER, SECURE_POD
from onnxmodel_operator import names
from onnxmodel_runtime.contract.stages import STAGES
from tests import models, plugin
from tests.e2e.support import MLP, OTHER, QUICK, RUNTIMES, model, namespace

EXAMPLE = Path(__file__).parents[2] / "examples" / "magika"
ASK = (Path(__file__).parent / "ask.py").read_text()
COMPARED = {
    "strategy": "Canary",
    "steps": [{"weight": 50, "pause": "1s"}],
    "gates": {
        "minRequests": 20, "maxP99RegressionPercent": 10_000, "compare": {"percent": 100, "minComparisons": 5},
    },
}  # fmt: skip
SECONDS = 800  # measurements take turns on a node, and the machine does much else


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request):
    return request.param


@pytest.fixture(scope="module")
def applied(platform):
    """For each runtime a namespace with every model."""
    with ExitStack() as namespaces:
        kubes = {runtime: namespaces.enter_context(namespace(platform)) for runtime in RUNTIMES}
        for runtime, within in kubes.items():
            example = yaml.safe_load((EXAMPLE / "onnxmodel.yaml").read_text())
            example["spec"]["serving"] = {"runtime": runtime}
            if runtime == "triton":  # once as it is: measurements take turns
                example["spec"]["benchmark"] = QUICK
            on_gpus = {"runtime": runtime, "nodePool": "gpu"}
            cuda = {**on_gpus, "executionProviders": ["CUDA", "CPU"]}
            within.apply(
                example,
                model("asks-for-cuda", serving=cuda),
                model("takes-cpu", serving={**cuda, "fallback": "Allow"}),
                short_lived(runtime),
            )
        volume(platform, kubes["triton"])
        kubes["onnxruntime"].apply(model("mlp", rollout=COMPARED))
        yield kubes


def short_lived(runtime):
    """By ONNX Runtime it is the README's first manifest, as it is."""
    if runtime == "onnxruntime":
        return yaml.safe_load((EXAMPLE.parent / "minimal" / "onnxmodel.yaml").read_text())
    return model("short-lived", MLP, serving={"runtime": runtime})


def volume(platform, kube):
    """A claim, a pod that lays a model onto its volume, and a model that comes from there."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}

    content = base64.b64encode(models.mlp().SerializeToString()).decode()
    script = f"""
import base64, os
os.makedirs("/data/m")
open("/data/m/model.onnx", "wb").write(base64.b64decode("{content}"))
"""
    pod = {
        "restartPolicy": "Never",
        "securityContext": SECURE_POD,
        "containers": [
            {
                "name": "fill", "image": platform.images["runtime-cpu"], "command": ["python3", "-c", script],
                "securityContext": SECURE_CONTAINER, "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "my-models"}}],
    }  # fmt: skip
    kube.apply(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "my-models"}, "spec": claim},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fill"}, "spec": pod},
    )
    filled = lambda: kube.get("pod", "fill")["status"]["phase"] == "Succeeded"  # noqa: E731
    until("the volume is filled", filled, seconds=SECONDS)
    serving = {"runtime": "triton"}
    kube.apply(model("from-volume", "pvc://my-models/m/model.onnx", source={"secretRef": None}, serving=serving))


@pytest.fixture(scope="module")
def kube(applied, runtime):
    return applied[runtime]


@pytest.fixture(scope="module")
def served(kube):
    """magika, Ready: waited for as a user would."""
    kube.run("wait", "--for=condition=Ready", "onnxmodel/magika", f"--timeout={SECONDS}s", timeout=SECONDS + 20)
    return kube.get("onnxmodel", "magika")


def test_status_says_what_was_found_measured_and_served(served, kube, runtime):
    status = served["status"]
    assert status["observedGeneration"] == served["metadata"]["generation"]
    assert status["model"]["opset"] == 15
    assert status["model"]["inputs"] == [{"name": "bytes", "datatype": "INT32", "shape": [-1, 2048]}]
    assert [v["name"] for v in status["variants"]] == ["original", "fp32", "fused"]
    fp32 = next(v for v in status["variants"] if v["name"] == "fp32")
    assert fp32["parity"]["passed"]
    assert fp32["parity"]["batchSizes"] == [1, 3, 32]
    assert all(v["measured"]["p99Milliseconds"] > 0 for v in status["variants"] if "sha256" in v)
    assert all(v["reason"] for v in status["variants"])
    assert status["benchmark"]["winner"]["throughputPerSecond"] > 0
    assert status["benchmark"]["versions"]["onnxruntime"]
    assert status["serving"]["runtime"] == runtime
    assert status["serving"]["provider"] == "CPU"
    assert status["serving"]["providerSharePercent"] == 100
    assert [(s["name"], s["state"]) for s in status["stages"]] == [(stage, "Succeeded") for stage in STAGES]
    assert all(s["seconds"] > 0 and s["startTime"] and s["completionTime"] for s in status["stages"])
    assert "lastFailure" not in status


def test_ready_came_after_a_real_inference_and_never_before(served, kube, recorded):
    states = recorded.states(kube.namespace, "magika")
    ready = [is_true(state, "Ready") for state in states]
    assert ready.index(True) == len(ready) - 1 or all(ready[ready.index(True) :]), "Ready once, it stayed"
    first = states[ready.index(True)]
    probe = next(s for s in first["status"]["stages"] if s["name"] == "probe")
    assert probe["state"] == "Succeeded"
    assert probe["completionTime"] <= condition(first, "Ready")["lastTransitionTime"]


def test_only_the_fetch_container_had_the_credentials(served, kube):
    for pod in kube.list("pods", names.SELECTOR):
        containers = (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])
        holders = {c["name"] for c in containers if c.get("envFrom")}
        assert holders <= {"fetch"}, pod["metadata"]["name"]
        assert all(volume["name"] != "kube-api-access" for volume in pod["spec"]["volumes"]), "an API token"


def test_every_flavour_of_tritonclient_is_answered_through_the_service(served, kube, platform, runtime):
    printed = platform.client(kube, "ask", ASK, {}, f"magika.{kube.namespace}.svc", "magika", runtime)
    assert (
        printed.splitlines()[-1] == "http, http.aio, grpc, grpc.aio agree; ready, metadata, config, statistics, metrics"
    )


def test_real_files_are_classified(served, kube, platform):
    files = {path.name: path.read_bytes() for path in (EXAMPLE / "files").iterdir()}
    expected = {"backup.sh": "shell", "page.html": "html", "paper.pdf": "pdf", "picture.png": "png", "query.sql": "sql"}
    script = (EXAMPLE / "classify.py").read_text()
    given = {**files, "config.min.json": magika.file("config.min.json").read_bytes()}
    arguments = (f"magika.{kube.namespace}.svc", "/files/config.min.json", *(f"/files/{name}" for name in expected))
    printed = platform.client(kube, "classify", script, given, *arguments)
    assert {line.split()[0]: line.split()[1] for line in printed.splitlines()[1:]} == expected


def test_the_plugin_asks_a_model_and_shows_its_logs_and_its_report(served, kube, runtime, tmp_path):
    page = plugin.sections()
    two, one, bench = page["Ask it"]
    code, said = plugin.run(kube, *two)
    assert code == 0, said
    assert said.startswith("target_label FP32 [2, 214]: ")
    answer = json.loads(plugin.run(kube, *one)[1])
    assert answer["outputs"][0]["shape"] == [1, 214]
    code, said = plugin.run(kube, *bench)
    assert code == 0, said
    assert " requests in 1." in said
    assert "proven by the load test in the cluster: p99 " in said
    servers, probe = page["Logs"]
    code, said = plugin.run(kube, *servers)
    assert (code, "[pod/magika-" in said) == (0, True), said
    code, said = plugin.run(kube, *probe)
    assert (code, "/probe] " in said) == (0, True), said
    (report,) = page["The report"]
    assert plugin.run(kube, *report, folder=tmp_path) == (0, "magika-report.html\n")
    assert "<svg" in (tmp_path / "magika-report.html").read_text()
    assert " Ready (Ready): " in plugin.run(kube, "why", "magika")[1]
    described = kube.run("describe", "onnxmodel", "magika").partition("\nEvents:")[2]
    assert all(reason in described for reason in ("StageStarted", "StageSucceeded", "TrafficSwitched", "Ready"))


def test_a_restart_of_the_pods_is_seen_and_mended(served, kube):
    pods = kube.list("pods", f"{names.LABEL_MODEL}=magika,{names.LABEL_REVISION}")
    kube.run("delete", "pod", "--force", "--grace-period=0", *(pod["metadata"]["name"] for pod in pods))
    gone = until("Ready is False", found(kube, "magika", untrue="Ready"))
    assert is_true(gone, "Reconciling")
    told = ("revision", "variant", "provider", "p99", "throughput")
    before, now = served["status"]["serving"], gone["status"]["serving"]
    assert [now[key] for key in told] == [before[key] for key in told], "a pod that is away changes no figure"
    until("Ready again", found(kube, "magika", true="Ready"), seconds=180)


def test_scaling_is_one_command_and_runs_no_stage_again(served, kube):
    # Only its own: the namespace's other models may still be at their stages.
    its = f"{names.LABEL_MODEL}=magika"
    before = {job["metadata"]["uid"] for job in kube.list("jobs", its)}
    kube.run("scale", "onnxmodel/magika", "--replicas=2")
    until("2/2", lambda: kube.get("onnxmodel", "magika")["status"]["serving"]["ready"] == "2/2", seconds=180)
    until("Ready", found(kube, "magika", true="Ready"))
    kube.run("scale", "onnxmodel/magika", "--replicas=1")
    until("1/1", lambda: kube.get("onnxmodel", "magika")["status"]["serving"]["ready"] == "1/1", seconds=180)
    assert {job["metadata"]["uid"] for job in kube.list("jobs", its)} == before


def test_another_model_of_the_same_signature_is_on_its_way(applied):
    """The test after next waits for it."""
    kube = applied["onnxruntime"]
    until("Ready", found(kube, "mlp", true="Ready"), seconds=SECONDS)
    kube.patch("onnxmodel", "mlp", {"spec": {"source": {"uri": OTHER}}})


def canary(kube, delay, compare=None):
    """The status while a new revision has half of the traffic, and the gates have passed it."""
    gates = {"minRequests": 100, "maxP99RegressionPercent": 1000, "compare": compare}  # the machine does much else
    rollout = {"strategy": "Canary", "steps": [{"weight": 50, "pause": "Manual"}], "gates": gates}
    serving = {"batching": {"maxQueueDelayMicroseconds": delay}}
    kube.patch("onnxmodel", "magika", {"spec": {"serving": serving, "rollout": rollout}})

    def judged():
        shown = kube.get("onnxmodel", "magika")
        status = shown["status"]
        new = shown["metadata"]["generation"] == status["observedGeneration"]
        return new and status.get("traffic") and status["rollout"].get("gate", "").startswith("Pass") and status

    return until("the gates pass", judged, seconds=240)


def order(kube, name):
    kube.run("annotate", "--overwrite", "onnxmodel/magika", f"onnx-operator.dev/{name}={time.time()}")


def test_a_new_revision_takes_over_without_a_lost_request(served, kube, platform, recorded, runtime):
    until("Ready", found(kube, "magika", true="Ready"), seconds=180)
    before = kube.get("onnxmodel", "magika")["status"]["active"]["revision"]
    script = (Path(__file__).parent / "load.py").read_text()
    kube.delete("job", "load")

    printed: list[str] = []
    arguments = (f"magika.{kube.namespace}.svc", "magika", "600")
    asking = threading.Thread(
        target=lambda: printed.append(platform.client(kube, "load", script, {}, *arguments, seconds=720))
    )
    asking.start()
    until("the load runs", lambda: kube.get("job", "load")["status"].get("ready"), seconds=180)
    time.sleep(1)
    refused = canary(kube, delay=100)
    order(kube, "abort")
    stalled = until("aborted", found(kube, "magika", true="Stalled"))
    assert stalled["status"]["lastFailure"]["reason"] == "RolloutAborted"
    assert stalled["status"]["serving"]["revision"] == before
    half = canary(kube, delay=200, compare=COMPARED["gates"]["compare"] if runtime == "onnxruntime" else None)
    if runtime == "onnxruntime":
        assert " 100 % of " in half["rollout"]["gate"], half["rollout"]
        assert "compared answers agree" in half["rollout"]["gate"]
    assert {share["revision"]: share["wanted"] for share in half["traffic"]} == {
        before: 50,
        half["rollout"]["revision"]: 50,
    }
    assert [share["ready"] for share in half["traffic"]] == [50, 50]
    assert min(share["measured"] for share in half["traffic"]) > 5, "clients with new connections reach both"
    order(kube, "promote")
    now = until("Ready", found(kube, "magika", true="Ready"), seconds=360)
    time.sleep(2)
    kube.run("exec", "job/load", "--", "python3", "-c", "import os, signal; os.kill(1, signal.SIGUSR1)")
    asking.join()
    assert [item["revision"] for item in now["status"]["rollout"]["refused"]] == [refused["rollout"]["revision"]]
    assert now["status"]["active"]["revision"] != before
    assert now["status"]["history"][0]["revision"] == before
    states = [
        state["status"]["serving"]
        for state in recorded.states(kube.namespace, "magika")
        if "serving" in state["status"]
    ]
    figures = {(state["revision"], state["p99"], state["throughput"]) for state in states}
    assert len(figures) == len({state["revision"] for state in states}), (
        "each revision has its figures, at every moment"
    )
    answered, failed, moved = (int(word) for word in printed[0].split()[:5:2])
    assert answered > 20
    assert failed == 0, printed[0]
    assert moved >= 2, printed[0]


def test_a_revision_that_answers_otherwise_is_refused_without_a_lost_request(applied, platform):
    kube = applied["onnxruntime"]
    waiting = "a share of the traffic, and nobody who asks"
    until(waiting, lambda: kube.get("onnxmodel", "mlp")["status"].get("traffic"), seconds=SECONDS)
    before = kube.get("onnxmodel", "mlp")["status"]["active"]["revision"]
    kube.delete("job", "load")
    script, printed = (Path(__file__).parent / "load.py").read_text(), []
    arguments = (f"mlp.{kube.namespace}.svc", "mlp", "300", "stopped", "mlp")
    asking = threading.Thread(
        target=lambda: printed.append(platform.client(kube, "load", script, {}, *arguments, seconds=420))
    )
    asking.start()
    stalled = until("refused", found(kube, "mlp", true="Stalled"), seconds=240)
    time.sleep(2)
    kube.run("exec", "job/load", "--", "python3", "-c", "import os, signal; os.kill(1, signal.SIGUSR1)")
    asking.join()
    assert condition(stalled, "Stalled")["reason"] == "AnswersDiffer"
    assert "compared answers agree, and the largest difference is 0." in condition(stalled, "Stalled")["message"]
    assert stalled["status"]["serving"]["revision"] == before
    answered, failed = (int(word) for word in printed[0].split()[:3:2])
    assert answered > 20
    assert failed == 0, printed[0]
    kube.delete("onnxmodel", "mlp")


def test_a_pool_gets_its_model_and_no_other(served, kube):
    until("Ready", found(kube, "takes-cpu", true="Ready"), seconds=SECONDS)
    pools = {
        node["metadata"]["name"]: node["metadata"]["labels"]["onnx-operator.dev/pool"]
        for node in kube.list("nodes", "onnx-operator.dev/pool")
    }
    for name, pool in (("takes-cpu", "gpu"), ("magika", "default")):
        pods = kube.list("pods", f"{names.LABEL_MODEL}={name}")
        assert len(pods) >= 6, ("five Jobs and a server", [pod["metadata"]["name"] for pod in pods])
        assert {pools[pod["spec"]["nodeName"]] for pod in pods} == {pool}


def test_the_cpu_does_not_serve_in_silence_where_a_gpu_was_asked_for(kube):
    shown = until("Stalled", found(kube, "asks-for-cuda", true="Stalled"), seconds=SECONDS)
    assert shown["status"]["lastFailure"]["reason"] == "ProviderUnavailable"
    optimize = kube.list("pods", f"{names.LABEL_MODEL}=asks-for-cuda,{names.LABEL_STAGE}=optimize")[0]
    assert optimize["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    shown = until("Ready", found(kube, "takes-cpu", true="Ready"), seconds=SECONDS)
    assert shown["status"]["serving"]["provider"] == "CPU"
    kube.delete("onnxmodel", "asks-for-cuda", "takes-cpu")


def test_a_volume_can_be_the_source(applied):
    kube = applied["triton"]
    until("Ready", found(kube, "from-volume", true="Ready"), seconds=SECONDS)
    kube.delete("onnxmodel", "from-volume")


def test_a_deleted_model_leaves_nothing(kube, runtime):
    name = short_lived(runtime)["metadata"]["name"]
    until("Ready", found(kube, name, true="Ready"), seconds=SECONDS)
    kube.delete("onnxmodel", name)
    kinds = "jobs,pods,deployments,services,persistentvolumeclaims,controllerrevisions,poddisruptionbudgets"
    until("nothing is left", lambda: not kube.list(kinds, f"{names.LABEL_MODEL}={name}"), seconds=240)


def test_kubectl_shows_it(served, kube, runtime):
    until("Ready", found(kube, "magika", true="Ready"), seconds=180)
    row = kube.run("get", "onnx", "magika").splitlines()[1].split()
    assert row[1:5] == ["True", "Ready", runtime, "CPU"]
    assert row[6].endswith("ms")
    assert row[7].endswith("/s")
    assert row[8] == "1/1"
    assert subprocess.run(
        [kube.kubectl, "explain", "onnxmodel.spec.serving.fallback"], env=kube.environment(), check=True
    )
