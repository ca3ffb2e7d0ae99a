"""Whatever can happen to a model with a replica on each node: each change ends when the model is Ready again."""

import io
import json
import tarfile
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev.cluster.images import images
from dev.kube import found, is_true, until
from dev.platform import OPERATOR
from onnxmodel_operator import names

ANYWHERE = 'settings.pools.anywhere={"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}'
SPREAD = {"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
GATES = {"maxP99RegressionPercent": 1000, "minRequests": 50}  # the machine does much else
HALF = {"strategy": "Canary", "steps": [{"weight": 50, "pause": "Manual"}], "gates": GATES}
SECONDS = 400
SWEEP = 'sweep={"enabled": true, "schedule": "0 0 1 1 *", "graceSeconds": 0}'


class Wide:
    """The model of this name, which somebody asks all the time."""

    def __init__(self, kube, platform):
        self.kube, self.platform = kube, platform
        self.settings = (ANYWHERE,)
        self.began = time.monotonic()
        self.holders = set()  # containers that have had credentials

    def status(self):
        return self.kube.get("onnxmodel", "wide")["status"]

    def servers(self):
        """The pods of the revision that serves."""
        revision = self.status()["active"]["revision"]
        pods = self.kube.list("pods", f"{names.LABEL_MODEL}=wide,{names.LABEL_REVISION}={revision}")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def ready(self, what):
        """Wait for it, and for each replica. When it was tells which change a client's failure belongs to."""
        shown = found(self.kube, "wide", true="Ready")
        until(f"Ready after {what}", lambda: self._whole() and shown(), seconds=SECONDS)
        print(f"{time.monotonic() - self.began:.0f} s: {what}: Ready")
        for pod in self.kube.list("pods", names.SELECTOR):
            containers = (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])
            self.holders |= {container["name"] for container in containers if container.get("envFrom")}

    def _whole(self):
        """Pods end and come before status tells it."""
        wanted = self.kube.get("onnxmodel", "wide")["spec"]["serving"]["replicas"]
        return [is_true(pod, "Ready") for pod in self.servers()] == [True] * wanted

    @contextmanager
    def replaced(self, what):
        """Do something because of which another revision serves, and wait for that."""
        before = self.status()["active"]["revision"]
        yield
        until(f"another revision: {what}", lambda: self.status()["active"]["revision"] != before, seconds=SECONDS)
        self.ready(what)

    def change(self, what, **spec):
        with self.replaced(what):
            self.kube.patch("onnxmodel", "wide", {"spec": spec})

    def install(self, what, *settings):
        self.settings += settings
        with self.replaced(what):
            self.platform.install_operator(*self.settings)

    def upgrade(self):
        """Install a newer image, which restarts nothing, and let the models move to it."""
        newer = renamed(self.platform, "runtime-cpu")
        before = {pod["metadata"]["uid"] for pod in self.servers()}
        self.settings += (f'runtimeImages.cpu="{newer}"', f'runtimeImages.gpu="{newer}"')
        self.platform.install_operator(*self.settings)
        until("it waits", lambda: self.status().get("upgrade", {}).get("state") == "Waiting", seconds=60)
        assert {pod["metadata"]["uid"] for pod in self.servers()} == before
        self.install("a newer image", 'settings.upgrades={"policy": "Immediate"}')
        assert {pod["spec"]["containers"][0]["image"] for pod in self.servers()} == {newer}

    def scale(self, count):
        self.kube.run("scale", "onnxmodel/wide", f"--replicas={count}")
        self.ready(f"{count} replicas")

    def abort_canary(self, delay):
        """Give half of the traffic to a revision that waits so long for a batch, and take it back."""
        stays = self.kube.get("onnxmodel", "wide")["spec"]
        serving = {"batching": {"maxQueueDelayMicroseconds": delay}}
        self.kube.patch("onnxmodel", "wide", {"spec": {"serving": serving, "rollout": HALF}})
        until(
            "half each", lambda: [one["ready"] for one in self.status().get("traffic", ())] == [50, 50], seconds=SECONDS
        )
        self.kube.run("annotate", "--overwrite", "onnxmodel/wide", f"onnx-operator.dev/abort={time.time()}")
        until("aborted", found(self.kube, "wide", true="Stalled"))
        serving = {"batching": stays["serving"]["batching"]}
        self.kube.patch("onnxmodel", "wide", {"spec": {"serving": serving, "rollout": {"strategy": "Surge"}}})
        self.ready("an aborted canary")

    def kill(self):
        """End each pod, one after the other. One of Triton stays for minutes with clients that keep a connection."""
        for pod in self.servers():
            self.kube.run("delete", "pod", pod["metadata"]["name"], "--wait=false")
            self.ready("a killed pod")

    def drain(self):
        """Drain a node of it, by evictions that the PodDisruptionBudget allows, and have it back.

        `kubectl drain` does the same and waits for the pods' ends: one of Triton stays with clients for minutes.
        """
        node = self.servers()[0]["spec"]["nodeName"]
        self.kube.run("cordon", node)
        try:
            for pod in self.servers():
                if pod["spec"].get("nodeName") == node:
                    until("the budget allows it", lambda name=pod["metadata"]["name"]: self._evicted(name), seconds=120)
            assert all(pod["spec"].get("nodeName") != node for pod in self.servers())
        finally:
            self.kube.run("uncordon", node)
        self.ready(f"{node} drained")

    def _evicted(self, name):
        place = f"/api/v1/namespaces/{self.kube.namespace}/pods/{name}/eviction"
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        return self.kube.run("create", "--raw", place, "-f", "-", stdin=json.dumps(eviction))


def sweep(system, name):
    """Run the sweep in its own pod, as the schedule does."""
    system.run("create", "job", name, f"--from=cronjob/{OPERATOR}-sweep")
    until(f"{name} is complete", lambda: system.get("job", name)["status"].get("succeeded"), seconds=120)
    system.delete("job", name)


def renamed(platform, role, tag="newer"):
    """Load an image under another tag: what a newer one of the same content would be."""
    image = next(one for one in images(tests=True) if one.role == role)
    if image.archive is None:
        pytest.skip("a cluster that pulls its images has no second name for one")
    name = f"{image.name.rpartition(':')[0]}:{tag}"
    with tempfile.NamedTemporaryFile(suffix=".tar") as target:
        with tarfile.open(image.archive()) as source, tarfile.open(target.name, "w") as copy:
            for member in source:
                content = source.extractfile(member)
                if member.name == "manifest.json":
                    (manifest,) = json.load(content)
                    told = json.dumps([{**manifest, "RepoTags": [name]}]).encode()
                    member.size, content = len(told), io.BytesIO(told)
                if member.name != "repositories":  # names of the other tag, for older programs
                    copy.addfile(member, content)
        platform.cluster.load(name, Path(target.name))
    return name
