"""What the end-to-end tests share."""

from typing import Any

MAGIKA = "s3://models/magika/1/model.onnx"
MLP = "s3://models/mlp/model.onnx"
RUNTIMES = ("onnxruntime", "triton")
# Quick to measure: what is tested here is the road, not the figures.
QUICK = {"batchSizes": [1], "concurrency": [1]}


def model(name: str, uri: str = MLP, **spec: Any) -> dict[str, Any]:
    """An OnnxModel that fetches with the S3 credentials."""
    source = {"uri": uri, "secretRef": {"name": "s3-credentials"}, **spec.pop("source", {})}
    return {
        "apiVersion": "onnx-operator.dev/v1alpha1",
        "kind": "OnnxModel",
        "metadata": {"name": name},
        "spec": {"source": {k: v for k, v in source.items() if v is not None}, "benchmark": QUICK, **spec},
    }
