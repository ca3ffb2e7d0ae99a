"""Artifacts in a bucket: moved there without a lost request, served on both nodes, and while the store is away."""

import json
import threading
from pathlib import Path

import pytest
import yaml

from dev.kube import condition, found, is_true, until
from dev.platform import OPERATOR, S3_ENDPOINT, STORAGE, SYSTEM
from onnxmodel_operator import names
from onnxmodel_runtime.contract.stages import FETCH, PULL, PUSH
from tests.e2e.support import model, namespace

EXAMPLE = Path(__file__).parents[2] / "examples" / "artifacts" / "bucket.yaml"
LOAD = (Path(__file__).parent / "load.py").read_text()
ASK_EACH = """
import sys
import numpy as np
import tritonclient.http as http

name, *hosts = sys.argv[1:]
for host in hosts:
    tensor = http.InferInput("bytes", (1, 2048), "INT32")
    tensor.set_data_from_numpy(np.zeros((1, 2048), dtype=np.int32))
    answer = http.InferenceServerClient(f"{host}:8000").infer(name, [tensor])
    print(host, int(answer.as_numpy("target_label").argmax()))
"""
ANYWHERE = 'settings.pools.anywhere={"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}'
S3 = f'{{"bucket": "models", "prefix": "artifacts", "endpoint": "{S3_ENDPOINT}", "secretRef": {{"name": "artifact-store"}}}}'
SWEEP = 'sweep={"enabled": true, "schedule": "0 0 1 1 *", "graceSeconds": 0}'
SPREAD = {"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}


@pytest.fixture(scope="module")
def kube(platform):
    """A namespace with the keys of both stores. The operator is as the other tests know it again after these."""
    with namespace(platform) as within:
        for holder in (within, platform.kube.within(SYSTEM)):
            platform.credentials(holder, "artifact-store")
        yield within
    platform.install_operator()


@pytest.fixture(scope="module")
def moved(kube, platform):
    """A model that was served from a volume while somebody asked it, and then is from the bucket. What the client printed."""
    platform.install_operator(ANYWHERE)
    serving = {"nodePool": "anywhere", "replicas": 2, "pod": {"topologySpreadConstraints": [SPREAD]}}
    kube.apply(model("wide", "s3://models/magika/1/model.onnx", serving=serving))
    kube.run("wait", "--for=condition=Ready", "onnxmodel/wide", "--timeout=400s", timeout=420)
    assert kube.get("pvc", "wide-artifacts")
    printed = []
    arguments = (f"wide.{kube.namespace}.svc", "wide", "400")
    client = threading.Thread(
        target=lambda: printed.append(platform.client(kube, "load", LOAD, {}, *arguments, seconds=480))
    )
    client.start()
    until("the load runs", lambda: kube.get("job", "load")["status"].get("ready"), seconds=180)
    platform.install_operator(ANYWHERE, SWEEP, 'settings.artifacts.store="s3"', f"settings.artifacts.s3={S3}")
    client.join()
    return printed


def servers(kube):
    """The pods of the revision that serves."""
    revision = kube.get("onnxmodel", "wide")["status"]["active"]["revision"]
    pods = kube.list("pods", f"{names.LABEL_MODEL}=wide,{names.LABEL_REVISION}={revision}")
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def ask(kube, platform, *hosts):
    """The label that each host answers."""
    printed = platform.client(kube, "ask-each", ASK_EACH, {}, "wide", *hosts)
    return {line.split()[0]: line.split()[1] for line in printed.splitlines()}


def test_no_request_is_lost_on_the_way_from_a_volume_to_a_bucket_and_the_volume_goes(moved, kube):
    assert moved, "the client failed"
    answered, failed, revisions = (int(word) for word in moved[0].split()[:5:2])
    assert answered > 20
    assert failed == 0, moved[0]
    assert revisions >= 2, moved[0]
    until("Ready", found(kube, "wide", true="Ready"), seconds=120)
    until("the volume is gone", lambda: not kube.list("pvc"), seconds=60)


def test_replicas_on_both_nodes_share_no_volume_and_each_answers(moved, kube, platform):
    pods = servers(kube)
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
    assert all("persistentVolumeClaim" not in volume for pod in pods for volume in pod["spec"]["volumes"])
    answers = ask(kube, platform, *(pod["status"]["podIP"] for pod in pods))
    assert len(answers) == 2
    assert len(set(answers.values())) == 1


def test_only_containers_that_parse_nothing_had_credentials(moved, kube):
    holders = {
        container["name"]
        for pod in kube.list("pods", names.SELECTOR)
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])
        if container.get("envFrom")
    }
    assert holders == {FETCH, PULL, PUSH}


def test_the_report_is_read_from_the_bucket_by_the_examples_pod(moved, kube, platform):
    page = Path(kube.get("onnxmodel", "wide")["status"]["benchmark"]["report"])
    pod = yaml.safe_load(EXAMPLE.read_text())
    (pull,), (look,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
    pull["image"] = look["image"] = platform.images["runtime-cpu"]
    request = json.loads(pull["args"][2])
    uid = kube.get("onnxmodel", "wide")["metadata"]["uid"]
    request["bucket"] |= {
        "bucket": "models",
        "prefix": f"artifacts/{kube.namespace}/wide/{uid}",
        "endpoint": S3_ENDPOINT,
    }
    request["folders"] = [{"folder": str(page.parent.relative_to("/artifacts"))}]
    pull["args"][2] = json.dumps(request)
    kube.apply(pod)
    kube.run("wait", "--for=condition=Ready", "pod/magika-artifacts", "--timeout=90s")
    assert "<html" in kube.run("exec", "magika-artifacts", "--", "cat", str(page))[:1000]
    kube.run("delete", "pod", "magika-artifacts", "--grace-period=0", "--force")


def test_while_the_store_is_away_what_serves_goes_on_and_status_says_what_waits(moved, kube, platform):
    storage = platform.kube.within(STORAGE)
    storage.patch("service", "s3", {"spec": {"selector": {"app": "nothing"}}})
    try:
        lost, left = servers(kube)
        kube.run("delete", "pod", lost["metadata"]["name"], "--wait=false")
        waits = until(
            "status says what waits",
            lambda: (
                (now := kube.get("onnxmodel", "wide"))["status"].get("lastFailure", {}).get("reason")
                == "StoreUnavailable"
                and now
            ),
            seconds=180,
        )
        assert is_true(waits, "Available")
        assert is_true(waits, "Reconciling")
        assert "is retried" in waits["status"]["lastFailure"]["hint"]
        assert len(ask(kube, platform, f"wide.{kube.namespace}.svc", left["status"]["podIP"])) == 2
    finally:
        storage.patch("service", "s3", {"spec": {"selector": {"app": "s3"}}})
    ready = until("Ready again", found(kube, "wide", true="Ready"), seconds=240)
    assert condition(ready, "Stalled") is None


def test_what_a_deleted_model_left_is_swept_and_nothing_else(moved, kube, platform):
    uid = kube.get("onnxmodel", "wide")["metadata"]["uid"]
    part, system = f"artifacts/{kube.namespace}/wide/{uid}/", platform.kube.within(SYSTEM)

    def sweep(name):
        system.run("create", "job", name, f"--from=cronjob/{OPERATOR}-sweep")
        until(f"{name} is complete", lambda: system.get("job", name)["status"].get("succeeded"), seconds=120)
        system.delete("job", name)

    before = platform.keys(part)
    assert len(before) > 5
    sweep("sweep-with-the-model")
    assert platform.keys(part) == before
    kube.run("delete", "onnxmodel", "wide")
    sweep("sweep-without-the-model")
    assert platform.keys(part) == []
    assert platform.keys("magika/"), "the source is no artifact"
