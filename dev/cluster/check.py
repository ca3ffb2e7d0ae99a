"""Proves that a cluster can do what the tests ask of it, so that a failing test means the operator and not the cluster."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from dev.ports import reserved

from .choice import Cluster, load_images
from .golang import program
from .shell import CommandError, run
from .steps import say, step

_NAMESPACE = "onnxmodel-cluster-check"


def check(cluster: Cluster) -> None:
    """Run pods on both nodes in a namespace of their own, and raise if anything fails."""
    image = load_images(cluster)["operator"]
    manifest = Path(__file__).with_suffix(".yaml").read_text().replace("IMAGE", image)
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": _NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    kubectl = _Kubectl(cluster.kubeconfig())
    kubectl("delete", "namespace", _NAMESPACE, "--ignore-not-found")
    try:
        kubectl("apply", "--filename=-", stdin=json.dumps(namespace))
        with step("check: applying"):
            kubectl("apply", "--filename=-", stdin=manifest)
        for what, prove in _PROOFS:
            with step(f"check: {what}"):
                prove(kubectl)
    finally:
        kubectl("delete", "namespace", _NAMESPACE, "--wait=false")
    say("check: all is well")


class _Kubectl:
    def __init__(self, kubeconfig: Path) -> None:
        self.words = (str(program("kubectl")), f"--kubeconfig={kubeconfig}", f"--namespace={_NAMESPACE}")

    def __call__(self, *words: str, stdin: str = "") -> str:
        return run(*self.words, *words, stdin=stdin)


def _servers(kubectl: _Kubectl) -> None:
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    nodes = kubectl("get", "pods", "--selector=app=web", "--output=jsonpath={.items[*].spec.nodeName}").split()
    if len(set(nodes)) != 2:
        raise CommandError(f"the servers must run on two nodes, but run on {nodes}")


def _jobs(kubectl: _Kubectl) -> None:
    kubectl("wait", "job/default", "job/gpu", "--for=condition=Complete", "--timeout=60s")


def _memory_limit(kubectl: _Kubectl) -> None:
    kubectl("wait", "job/oom", "--for=condition=Failed", "--timeout=60s")
    path = "--output=jsonpath={.items[0].status.containerStatuses[0].state.terminated}"
    end = json.loads(kubectl("get", "pods", "--selector=job-name=oom", path))
    if (end["reason"], end["exitCode"]) != ("OOMKilled", 137):
        raise CommandError(f"the pod exceeded 64Mi and ended with: {end}")


def _doors(kubectl: _Kubectl) -> None:
    for pod in kubectl("get", "pods", "--selector=app=web", "--output=name").split():
        if kubectl("exec", pod, "--", "python3", "-c", "import os; print(os.getuid())").strip() != "10001":
            raise CommandError(f"exec into {pod} does not run as the pod's user")
        _forward(kubectl, pod)
        if '"GET /forwarded' not in kubectl("logs", pod):
            raise CommandError(f"the logs of {pod} lack the request")


def _forward(kubectl: _Kubectl, pod: str, seconds: float = 30) -> None:
    with reserved(1) as ports:
        _forward_to(kubectl, pod, ports[0], seconds)


def _forward_to(kubectl: _Kubectl, pod: str, port: int, seconds: float) -> None:
    command = [*kubectl.words, "port-forward", pod, f"{port}:8000"]
    forwarding = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + seconds
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/forwarded", timeout=2).close()
            except urllib.error.HTTPError:
                return  # there is no such file, and the server said so
            except OSError as error:
                if time.monotonic() > deadline:
                    raise CommandError(f"port-forward to {pod}: {error}") from error
            time.sleep(0.1)
    finally:
        forwarding.kill()
        forwarding.wait()


_PROOFS: tuple[tuple[str, Callable[[_Kubectl], None]], ...] = (
    ("a server on each node", _servers),
    ("volumes, Services and DNS from both nodes", _jobs),
    ("a memory limit is enforced", _memory_limit),
    ("exec, port-forward and logs on both nodes", _doors),
)
