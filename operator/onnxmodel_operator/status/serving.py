"""Fill status.serving: the revision that the Service selects."""

from typing import Any

from onnxmodel_operator import names
from onnxmodel_operator.api.resource import Resource
from onnxmodel_operator.api.status import RevisionStatus, ServingStatus
from onnxmodel_operator.observe import Observed, RevisionSeen
from onnxmodel_operator.status import figures
from onnxmodel_operator.status.revisions import recorded


def served_revision(seen: Observed) -> RevisionSeen | None:
    """Return the Deployment that the Service selects."""
    return seen.revisions.get(seen.routed or "")


def serving_status(
    model: Resource, seen: Observed, proven: tuple[RevisionStatus | None, RevisionStatus | None]
) -> ServingStatus | None:
    """Return the revision that the Service selects, with its own recorded figures, whatever is being proven."""
    served = served_revision(seen)
    if served is None:
        return None
    host = f"{model.name}.{model.namespace}.svc"
    selector = f"{names.LABEL_MODEL}={model.name},{names.LABEL_REVISION}={served.revision}"
    return ServingStatus(
        url=f"http://{host}:8000",
        grpc=f"{host}:8001",
        metrics=f"http://{host}:8002/metrics",
        revision=served.revision,
        runtime=served.runtime,
        **_proven(recorded(served.revision, proven, seen.memory)),
        replicas=served.wanted,
        ready_replicas=served.ready,
        ready=f"{served.ready}/{served.wanted}",
        selector=selector,
    )


def _proven(record: RevisionStatus | None) -> dict[str, Any]:
    """The fields that were proven before the revision took traffic."""
    if record is None:
        return {}
    return {
        "variant": record.variant,
        "provider": record.provider,
        "provider_share_percent": record.provider_share_percent,
        "opset": record.opset,
        "source_sha256": record.source_sha256,
        "p99": figures.milliseconds(record.served.p99_milliseconds) if record.served else None,
        "throughput": figures.rate(record.served.throughput_per_second) if record.served else None,
        "batching": record.batching,
        "sizes": record.sizes,
    }
