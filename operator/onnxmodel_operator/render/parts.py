"""Make what all manifests have: metadata, scheduling, arguments, and a digest of what they are made from."""

from dataclasses import dataclass
from typing import Any

from onnxmodel_operator import names
from onnxmodel_operator.platform.resolve import Placement
from onnxmodel_operator.platform.settings import Settings
from onnxmodel_runtime.contract.codec import dumps

Manifest = dict[str, Any]
"""A manifest. Cached and shared: do not modify it."""
REMEMBERED = 256
"""Manifests of each sort: a model's stay as they are from turn to turn while it is proven, and many are proven at a time."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The identity of the model, without what changes from turn to turn."""

    namespace: str
    name: str
    uid: str


def claim_name(model: str) -> str:
    """Return the name of the model's PVC."""
    return names.child(model, "artifacts")


def labels_of(owner: Owner) -> dict[str, str]:
    """Return the labels of every child, by which the watches select it."""
    return {names.MANAGED_BY: names.MANAGER, names.LABEL_MODEL: owner.name}


def metadata(owner: Owner, name: str, labels: dict[str, str] | None = None) -> Manifest:
    """Return the metadata of a child, with our own labels only.

    Copied labels of a GitOps tool would make the tool claim the child.
    """
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": {**labels_of(owner), **(labels or {})},
        "ownerReferences": [
            {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def scheduling(placement: Placement, settings: Settings) -> dict[str, Any]:
    """Return the placement of a pod and its resources, by the names that the templates use."""
    resources = dict(placement.resources.data)
    template = placement.pool.resource_claim_template_name
    claims = [f"gpu-{number}" for number in range(placement.gpus)] if template else []
    if claims:
        resources["claims"] = [{"name": name} for name in claims]
    elif placement.gpus:
        # An extended resource's request equals its limit, so the limit is enough.
        resources["limits"] = {**resources["limits"], placement.pool.gpu_resource: str(placement.gpus)}
    traits = placement.traits
    return {
        "image": placement.image,
        "images": settings.images,
        "pool": placement.pool,
        "affinity": placement.pool.affinity,
        "priority": traits.priority_class_name or placement.pool.priority_class_name,
        "account": traits.service_account_name,
        "pull_secrets": tuple(dict.fromkeys((*settings.images.pull_secrets, *traits.pull_secrets))),
        "resources": resources,
        "claims": [{"name": name, "resourceClaimTemplateName": template} for name in claims],
    }


def without_identity(*containers: str) -> dict[str, str]:
    """Return annotations by which the webhooks of AWS and Azure give these containers no token of the pod's account."""
    return {
        "eks.amazonaws.com/skip-containers": ",".join(containers),
        "azure.workload.identity/skip-containers": ";".join(containers),
    }


def as_argument(request: Any) -> str:
    """Encode a request as a container's argument, without "$": the kubelet would replace $(NAME) with the environment,
    which includes the credentials of the fetch.
    """
    return dumps(request).replace("$", "\\u0024")


def stamped(manifest: Manifest, keep: str = "") -> Manifest:
    """Add a digest of the manifest. It does not cover `keep`, the folders that a Job leaves on the volume: what is
    needed changes while the Job runs, and is no reason to replace it.
    """
    given = manifest["metadata"].get("annotations", {})
    digest = names.digest(_without(manifest, keep) if manifest["kind"] == "Job" else manifest)
    annotations = {**given, names.ANNOTATION_APPLIED: names.short(digest)}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def _without(value: Any, text: str) -> Any:
    """Replace every string that equals `text` by ""."""
    match value:
        case dict():
            return {key: _without(item, text) for key, item in value.items()}
        case list() | tuple():
            return [_without(item, text) for item in value]
        case _:
            return "" if value == text else value
