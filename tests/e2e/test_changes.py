"""No request is lost, whatever changes: a model with a replica on each node is changed again and again under load.

With ONNX Runtime: the artifacts move from a volume into a bucket, batching, the number of replicas, the source, the
runtime's image, a canary that is aborted, and the node pool. With both runtimes: their servers are killed and a node is
drained. And the runtime changes, to Triton and back. The tests of the bucket come after.
"""

import json
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest
import yaml

from dev import magika
from dev.kube import condition, found, is_true, until
from dev.platform import OPERATOR, S3_ENDPOINT, STORAGE, SYSTEM
from onnxmodel_operator import names
from onnxmodel_runtime.contract.stages import FETCH, PULL, PUSH
from tests.e2e.changes import ANYWHERE, SPREAD, SWEEP, Wide, sweep
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
S3 = f'{{"bucket": "models", "prefix": "artifacts", "endpoint": "{S3_ENDPOINT}", "secretRef": {{"name": "artifact-store"}}}}'


@pytest.fixture(scope="module")
def kube(platform):
    """A namespace with the keys of both stores. The operator is as the other tests know it again after these."""
    with namespace(platform) as within:
        for holder in (within, platform.kube.within(SYSTEM)):
            platform.credentials(holder, "artifact-store")
        yield within
    platform.install_operator()


@pytest.fixture(scope="module")
def wide(kube, platform):
    """It serves from a volume, on any node."""
    newer = onnx.load(magika.model())
    newer.producer_version = "newer"
    platform.upload({"magika/2/model.onnx": newer.SerializeToString()})
    platform.install_operator(ANYWHERE)
    serving = {"nodePool": "anywhere", "replicas": 2, "pod": {"topologySpreadConstraints": [SPREAD]}}
    kube.apply(model("wide", "s3://models/magika/1/model.onnx", serving=serving))
    kube.run("wait", "--for=condition=Ready", "onnxmodel/wide", "--timeout=400s", timeout=420)
    assert kube.get("pvc", "wide-artifacts")
    return Wide(kube, platform)


@pytest.fixture(scope="module")
def moved(wide, kube, platform):
    """It went through all changes while somebody asked it, the artifacts are in the bucket. What the client printed."""
    printed = []
    arguments = (f"wide.{kube.namespace}.svc", "wide", "1500")
    client = threading.Thread(
        target=lambda: printed.append(platform.client(kube, "load", LOAD, {}, *arguments, seconds=1600))
    )
    client.start()
    until("the load runs", lambda: kube.get("job", "load")["status"].get("ready"), seconds=180)
    wide.began = time.monotonic()
    try:
        wide.install("the store", SWEEP, 'settings.artifacts.store="s3"', f"settings.artifacts.s3={S3}")
        wide.change("batching", serving={"batching": {"maxQueueDelayMicroseconds": 50}})
        wide.scale(3)
        wide.scale(2)
        wide.change("the source", source={"uri": "s3://models/magika/2/model.onnx"})
        wide.upgrade()
        wide.abort_canary(delay=100)
        for runtime in ("triton", "onnxruntime"):
            wide.change(f"the runtime {runtime}", serving={"runtime": runtime})
            wide.kill()
            wide.drain()
        wide.change("the node pool", serving={"nodePool": "default"})
        wide.change("the node pool back", serving={"nodePool": "anywhere"})
    finally:
        kube.run("exec", "job/load", "--", "python3", "-c", "import os, signal; os.kill(1, signal.SIGUSR1)")
        client.join()
    return printed


def ask(kube, platform, *hosts):
    """The label that each host answers."""
    printed = platform.client(kube, "ask-each", ASK_EACH, {}, "wide", *hosts)
    return {line.split()[0]: line.split()[1] for line in printed.splitlines()}


def test_no_request_is_lost_whatever_changes_and_the_volume_goes(moved, kube):
    assert moved, "the client failed"
    answered, failed = (int(word) for word in moved[0].split()[:3:2])
    print(moved[0])
    assert answered > 500
    assert failed == 0, moved[0]
    until("the volume is gone", lambda: not kube.list("pvc"), seconds=60)


def test_replicas_on_both_nodes_share_no_volume_and_each_answers(moved, wide, kube, platform):
    pods = wide.servers()
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
    assert all("persistentVolumeClaim" not in volume for pod in pods for volume in pod["spec"]["volumes"])
    answers = ask(kube, platform, *(pod["status"]["podIP"] for pod in pods))
    assert len(answers) == 2
    assert len(set(answers.values())) == 1


def test_only_containers_that_parse_nothing_had_credentials(moved, wide):
    assert wide.holders == {FETCH, PULL, PUSH}


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


@contextmanager
def without_store(platform):
    """Nothing answers at the address of the store."""
    storage = platform.kube.within(STORAGE)
    storage.patch("service", "s3", {"spec": {"selector": {"app": "nothing"}}})
    try:
        yield
    finally:
        storage.patch("service", "s3", {"spec": {"selector": {"app": "s3"}}})


def test_while_the_store_is_away_what_serves_goes_on_and_status_says_what_waits(moved, wide, kube, platform):
    with without_store(platform):
        lost, left = wide.servers()
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
    ready = until("Ready again", found(kube, "wide", true="Ready"), seconds=240)
    assert condition(ready, "Stalled") is None


def test_a_deletion_waits_neither_for_the_operator_nor_for_the_store(moved, kube, platform):
    """The sweep finds what it left when the store is back."""
    uid = kube.get("onnxmodel", "wide")["metadata"]["uid"]
    part, system = f"artifacts/{kube.namespace}/wide/{uid}/", platform.kube.within(SYSTEM)

    before = platform.keys(part)
    assert len(before) > 5
    sweep(system, "sweep-with-the-model")
    assert platform.keys(part) == before
    system.run("scale", f"deployment/{OPERATOR}", "--replicas=0")
    with without_store(platform):
        kube.run("delete", "onnxmodel", "wide", "--timeout=10s")
        kinds = "jobs,deployments,services,controllerrevisions,poddisruptionbudgets,pods"
        until("nothing is left", lambda: not kube.list(kinds, f"{names.LABEL_MODEL}=wide"), seconds=120)
    system.run("scale", f"deployment/{OPERATOR}", "--replicas=1")
    sweep(system, "sweep-without-the-model")
    assert platform.keys(part) == []
    assert platform.keys("magika/"), "the source is no artifact"
