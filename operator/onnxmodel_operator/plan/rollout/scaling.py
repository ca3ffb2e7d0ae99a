"""The autoscaler of a model: it sets the model's replicas, and this says between which bounds and at which load."""

from onnxmodel_operator.api.resource import OnnxModel, Resource
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.plan.values import Child, Scaling, Traffic
from onnxmodel_operator.platform.settings import Settings

SCALED_OBJECT, AUTOSCALER = "ScaledObject", "HorizontalPodAutoscaler"
KINDS = {"KEDA": SCALED_OBJECT, "HPA": AUTOSCALER}


def sleeps(model: Resource) -> bool:
    """Return whether the model has no replicas because nobody asks for them. Otherwise 0 replicas mean that it is off."""
    asked = model.spec.serving.autoscaling if isinstance(model, OnnxModel) else None
    return model.replicas == 0 and asked is not None and asked.min_replicas == 0


def scaling_of(model: OnnxModel, seen: Observed, settings: Settings, traffic: Traffic) -> Scaling | None:
    """Return the autoscaler that must exist: of a model that was proven once, and that nobody has turned off.

    A first revision that is being proven has the replicas of its spec.
    """
    asked, offered = model.spec.serving.autoscaling, settings.autoscaling
    if asked is None or offered is None or not traffic or seen.memory.active is None:
        return None
    if model.replicas == 0 and not sleeps(model):
        return None
    revisions = tuple(revision for revision, _ in traffic)
    record = seen.memory.revision(revisions[0])
    capacity = record.capacity if record else None
    return Scaling(
        kind=KINDS[offered.backend],
        least=asked.min_replicas,
        most=asked.max_replicas,
        seconds=asked.scale_down_after_seconds,
        revisions=tuple(sorted(revisions)),
        target=round(capacity * asked.target_capacity_percent / 100, 3) if capacity else model.spec.serving.instances,
        rows=bool(capacity),
        missing=KINDS[offered.backend] in seen.missing,
    )


def superseded(seen: Observed, scaling: Scaling | None) -> tuple[Child, ...]:
    """Return the autoscalers that must go: of another backend, or of a model that has none any more."""
    kept = scaling.kind if scaling else None
    return tuple(child for child in seen.live if child[0] in KINDS.values() and child[0] != kept)
