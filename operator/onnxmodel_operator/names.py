"""Names that others may rely on: the API group, labels, and the names of children."""

import hashlib
import json
import re
from typing import Any

from onnxmodel_runtime.contract import naming

GROUP = "onnx-operator.dev"
VERSION = "v1alpha1"
KIND = "OnnxModel"
PLURAL = "onnxmodels"
API_VERSION = f"{GROUP}/{VERSION}"

MANAGER = "onnxmodel-operator"
STATUS_MANAGER = "onnxmodel-operator-status"

MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_MODEL = f"{GROUP}/model"
LABEL_STAGE = f"{GROUP}/stage"
LABEL_DIGEST = f"{GROUP}/digest"
LABEL_REVISION = f"{GROUP}/revision"
LABEL_SERVER = f"{GROUP}/server"
"""On every pod that serves a model, whatever its revision: a Service selects two revisions by it."""
LABEL_RUNTIME = f"{GROUP}/runtime"
OWN_LABELS = (MANAGED_BY, LABEL_MODEL, LABEL_STAGE, LABEL_REVISION, LABEL_SERVER, LABEL_RUNTIME)
"""Labels of children, by which they are selected."""
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
ANNOTATION_CLAIM = f"{GROUP}/claim"
"""On the record of a revision: the place of its artifacts, which is the uid of a volume, `bucket_place` or `registry_place`."""
ANNOTATION_STABLE = f"{GROUP}/stable"
"""On a Service that selects two revisions: the proven one."""
ANNOTATION_POD_SETTINGS = f"{GROUP}/pod-settings"
"""On the record of a revision: the digest of the settings that its pods were made with and its own digest does not cover."""
ANNOTATION_APPLIED = f"{GROUP}/applied"
"""On every child: the digest of what was applied, so that nothing is written twice."""
ANNOTATION_QUIET = f"{GROUP}/quiet"
"""On the Job of a measurement that no other stage may run beside."""

PROMOTE, ABORT, RETRY, PAUSE = (f"{GROUP}/{order}" for order in ("promote", "abort", "retry", "pause"))
"""Annotations of people on a model: orders to its rollout."""
MEASURE = f"{GROUP}/measure"
"""Annotation of people on a model: the order to measure it again."""

SELECTOR = f"{MANAGED_BY}={MANAGER}"

_SHORT = 8


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, check_circular=False)


def digest(value: Any) -> str:
    """Return the SHA-256 of plain data as canonical JSON, hexadecimal."""
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()


def short(full_digest: str) -> str:
    """Return the part of a digest that names carry."""
    return full_digest[:_SHORT]


_BUCKET, _REGISTRY = "s3-", "oci-"


def bucket_place(endpoint: str, bucket: str, prefix: str) -> str:
    """Return the identity of a part of a bucket. It takes the role of a volume's uid, and equals none."""
    return _BUCKET + digest([endpoint, bucket, prefix])[:32]


def registry_place(repository: str, uid: str) -> str:
    """Return the identity of the tags of a model in a registry, likewise."""
    return _REGISTRY + digest([repository, uid])[:32]


def is_remote_place(place: str) -> bool:
    """Return whether this is the identity of a place that no volume is, and that every node reaches."""
    return place.startswith((_BUCKET, _REGISTRY))


_CANARY = "canary"


def canary_service(model: str, revision: str) -> str:
    """Return the name of the Service of a revision that has a share of the traffic of the model's routes."""
    return child(model, revision, _CANARY)


def revision_of_canary(model: str, service: str) -> str:
    """Return the revision of a Service that has such a name. "" for any other name."""
    start, *_ = canary_service(model, "0" * _SHORT).rpartition(f"-{'0' * _SHORT}-{_CANARY}")
    found = re.fullmatch(rf"{re.escape(start)}-([0-9a-f]{{{_SHORT}}})-{_CANARY}", service)
    return found[1] if found else ""


def child(model: str, *parts: str) -> str:
    """Return the name of a model's child, at most 63 characters: servers make the name of a Service alike."""
    return naming.child(model, *parts)
