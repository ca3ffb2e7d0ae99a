"""A model whose next revision is a canary, and a person's orders to it."""

from typing import Any

from dev.results import benchmarked
from onnxmodel_operator import names
from tests.builders import Cluster, body

STEPS = [{"weight": 10, "pause": "1m"}, {"weight": 50, "pause": "Manual"}]
CANARY = {"strategy": "Canary", "steps": STEPS, "gates": {"mode": "Warn"}}
NEW = {"optimization": {"graphLevel": "Basic"}}


def canary(rollout: Any = CANARY, **serving: Any) -> Cluster:
    """A model that is Ready, and whose next revision is about to take its first share."""
    cluster = Cluster(body(serving={"replicas": 4, **serving}, rollout=rollout))
    cluster.live()
    change(cluster)
    return cluster


def change(cluster: Cluster, **spec: Any) -> None:
    """A new revision is deployed, and measured."""
    cluster.edit(**(spec or NEW))
    cluster.settle()
    cluster.succeed("optimize")
    cluster.settle()
    cluster.succeed("benchmark", result=benchmarked(original=1.0, fp32=2.0))
    cluster.settle()
    cluster.deploy()


def order(cluster: Cluster, name: str, value: str = "1") -> None:
    """A person annotates the model."""
    key = ("OnnxModel", "team-a", "magika")
    model = cluster.objects[key]
    annotations = {**model["metadata"].get("annotations", {}), name: value}
    cluster._store({**model, "metadata": {**model["metadata"], "annotations": annotations}})
    cluster.settle()


def wait(cluster: Cluster, seconds: float) -> None:
    """Time passes, and pods start."""
    cluster.pass_time(seconds)
    cluster.settle()
    cluster.play()
    cluster.settle()


def both(cluster: Cluster) -> tuple[str, str]:
    old, new = (d["metadata"]["labels"][names.LABEL_REVISION] for d in cluster.deployments())
    return old, new
