"""The operator itself: quiet when there is nothing to do, killed at random moments, and allowed little."""

import json
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dev.kube import found, until
from dev.platform import OPERATOR, SYSTEM
from onnxmodel_operator import names
from tests.e2e.support import RUNTIMES, model

ACCOUNT = f"system:serviceaccount:{SYSTEM}:{OPERATOR}"


def kill(platform):
    """SIGKILL to the operator's process, seen from this machine; then a new pod, for the kubelet would wait longer each time."""
    kube = platform.kube.within(SYSTEM)
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            words = command.read_bytes().split(b"\0")
            if b"onnxmodel_operator" in words and b"--settings=/etc/onnxmodel-operator/settings.yaml" in words:
                os.kill(int(command.parent.name), signal.SIGKILL)
    kube.run("delete", "pods", "--all", "--force", "--grace-period=0")


@pytest.fixture(scope="module")
def quiet(kube):
    """By each runtime a model that is Ready, and that nobody disturbed."""
    kube.apply(*(model(f"quiet-{runtime}", serving={"runtime": runtime}) for runtime in RUNTIMES))
    return {
        runtime: until("Ready", found(kube, f"quiet-{runtime}", true="Ready"), seconds=540)["status"]
        for runtime in RUNTIMES
    }


def test_helm_test_finds_the_operator_ready(platform):
    platform.test_operator()


def test_an_idle_minute_sees_no_write(quiet, platform):
    log = platform.cluster.audit_log()
    if log is None:
        pytest.skip("this cluster's audit log cannot be read")
    time.sleep(3)
    start = datetime.now(UTC)
    time.sleep(60)
    end = start + timedelta(seconds=60)
    writes, seen = [], 0
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event["user"]["username"] == ACCOUNT:
            seen += 1
            if start <= datetime.fromisoformat(event["requestReceivedTimestamp"].replace("Z", "+00:00")) <= end:
                writes.append((event["verb"], event["requestURI"]))
    assert seen > 0, "the log tells of the operator's earlier writes"
    assert writes == []
    assert readings(platform) >= len(quiet), "it read the metrics of both runtimes' servers all the same"


def readings(platform) -> float:
    """How often the operator read a server's metrics, by its own."""
    kube = platform.kube.within(SYSTEM)
    (pod,) = (pod for pod in kube.list("pods") if pod["status"]["phase"] == "Running")  # the pod of helm test has ended
    page = kube.run("get", "--raw", f"/api/v1/namespaces/{SYSTEM}/pods/{pod['metadata']['name']}:8080/proxy/metrics")
    (line,) = [line for line in page.splitlines() if line.startswith('onnxmodel_operator_readings_total{outcome="ok"}')]
    return float(line.split()[-1])


def test_killed_at_ten_random_moments_the_end_is_the_same_and_no_job_ran_twice(kube, quiet, platform, tmp_path):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    path = tmp_path / "jobs.json"
    with path.open("w") as out:
        command = [kube.kubectl, "-n", kube.namespace, "get", "jobs", "--watch", "-o"]
        columns = 'jsonpath={.metadata.uid} {.metadata.annotations.onnx-operator\\.dev/digest}{"\\n"}'
        watch = subprocess.Popen([*command, columns], env=kube.environment(), stdout=out)
    try:
        kube.apply(*(model(f"hurt-{runtime}", serving={"runtime": runtime}) for runtime in RUNTIMES))
        for _ in range(10):
            time.sleep(chance.uniform(0, 6))
            kill(platform)
        ends = {
            runtime: until("Ready", found(kube, f"hurt-{runtime}", true="Ready"), seconds=540)["status"]
            for runtime in RUNTIMES
        }
    finally:
        watch.terminate()
        watch.wait()
    runs: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        uid, digest = line.split()
        runs.setdefault(digest, set()).add(uid)
    assert len(runs) == 20, "four models, five stages each"
    assert all(len(uids) == 1 for uids in runs.values()), f"a Job ran twice: {runs}"
    for runtime, status in ends.items():
        for field in ("phase", "model"):
            assert status[field] == quiet[runtime][field]
        assert status["serving"]["runtime"] == runtime
        assert status["active"]["variant"] in ("original", "fp32", "fused")
        for kind, count in (
            ("jobs", 5),
            ("deployments", 1),
            ("controllerrevisions", 1),
            ("services", 1),
            ("persistentvolumeclaims", 1),
        ):
            assert len(kube.list(kind, f"{names.LABEL_MODEL}=hurt-{runtime}")) == count


@pytest.mark.parametrize(
    ("verb", "resource", "allowed"),
    [
        ("list", "onnxmodels.onnx-operator.dev", True),
        ("patch", "onnxmodels.onnx-operator.dev/status", True),
        ("create", "jobs.batch", True),
        ("patch", "deployments.apps", True),
        ("create", "controllerrevisions.apps", True),
        ("delete", "poddisruptionbudgets.policy", True),
        ("list", "pods", True),
        ("patch", "onnxmodels.onnx-operator.dev", False),
        ("update", "onnxmodels.onnx-operator.dev", False),
        ("delete", "onnxmodels.onnx-operator.dev", False),
        ("get", "secrets", False),
        ("list", "secrets", False),
        ("list", "configmaps", False),
        ("create", "pods", False),
        ("create", "pods/exec", False),
        ("delete", "pods", False),
        ("delete", "persistentvolumeclaims", False),
        ("list", "nodes", False),
        ("list", "namespaces", False),
        ("create", "namespaces", False),
        ("create", "clusterroles.rbac.authorization.k8s.io", False),
        ("impersonate", "users", False),
        ("list", "customresourcedefinitions.apiextensions.k8s.io", False),
        ("create", "leases.coordination.k8s.io", False),
        ("*", "*", False),
    ],
)
def test_the_operator_may_do_this_and_no_more(platform, verb, resource, allowed):
    command = [platform.kube.kubectl, "auth", "can-i", verb, resource, "--all-namespaces", f"--as={ACCOUNT}"]
    if resource.endswith("/status"):
        command = [*command[:3], verb, resource.removesuffix("/status"), "--subresource=status", *command[5:]]
    done = subprocess.run(command, env=platform.kube.environment(), capture_output=True, text=True, check=False)
    assert done.stdout.strip() == ("yes" if allowed else "no"), done.stderr


def test_the_operator_runs_as_nobody_under_the_restricted_standard(platform):
    system = platform.kube.within(SYSTEM)
    labels = platform.kube.get("namespace", SYSTEM)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pod = until("a pod", lambda: next((p for p in system.list("pods") if p["status"]["phase"] == "Running"), None))
    printed = system.run(
        "exec", pod["metadata"]["name"], "--", "python3", "-c", "import os; print(os.getuid(), os.getgid())"
    )
    assert printed.split() == ["10001", "10001"]


def test_an_image_that_cannot_be_pulled_is_reconciling_and_named(kube, platform):
    """Last: it changes the runtime's image for every model of the cluster, and back."""
    kube.delete("onnxmodels", "--all")
    platform.install_operator('runtimeImages.cpu="localhost/nowhere:1"')
    try:
        kube.apply(model("no-image"))
        shown = until("ImagePullFailed", found(kube, "no-image", reason="ImagePullFailed"), seconds=180)
        assert shown["status"]["lastFailure"]["stage"] == "validate"
        assert "localhost/nowhere:1" in shown["status"]["lastFailure"]["message"]
        assert "runtimeImages" in shown["status"]["lastFailure"]["hint"]
        until("Reconciling", found(kube, "no-image", true="Reconciling"))
    finally:
        platform.install_operator()
    until("Ready with the right image", found(kube, "no-image", true="Ready"), seconds=360)
