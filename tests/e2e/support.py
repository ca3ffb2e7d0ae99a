"""What the end-to-end tests share."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dev.kube import Kube, until
from dev.platform import Platform
from tests import models

MLP = "s3://models/mlp/model.onnx"
OTHER = "s3://models/mlp/other.onnx"
"""A model of the same signature with other weights."""
RUNTIMES = ("onnxruntime", "triton")
# Quick to measure: what is tested here is the road, not the figures.
QUICK = {"batchSizes": [1], "concurrency": [1]}
BAD = {
    "not-onnx": models.html(),
    "truncated": models.truncated(),
    "old-opset": models.old_opset().SerializeToString(),
    "fixed-batch": models.fixed_batch().SerializeToString(),
    "sigfpe": models.divides_by_zero().SerializeToString(),
    "memory": models.eats_memory().SerializeToString(),
}


def model(name: str, uri: str = MLP, **spec: Any) -> dict[str, Any]:
    """An OnnxModel that fetches with the S3 credentials."""
    source = {"uri": uri, "secretRef": {"name": "s3-credentials"}, **spec.pop("source", {})}
    return {
        "apiVersion": "onnx-operator.dev/v1alpha1",
        "kind": "OnnxModel",
        "metadata": {"name": name},
        "spec": {"source": {k: v for k, v in source.items() if v is not None}, "benchmark": QUICK, **spec},
    }


@contextmanager
def namespace(platform: Platform) -> Iterator[Kube]:
    """A namespace with the S3 credentials, which goes with its models."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    within = platform.namespace(name)
    platform.credentials(within)
    yield within
    within.delete("onnxmodels", "--all", wait=False)
    platform.kube.run("delete", "namespace", name, "--wait=false")
    until("the pods are gone", lambda: not within.list("pods"), seconds=120)
