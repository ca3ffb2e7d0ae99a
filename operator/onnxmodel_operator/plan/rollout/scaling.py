"""The autoscaler of a model: it sets the model's replicas, and this says between which bounds and at which load."""

from onnxmodel_operator.api.resource import OnnxModel, Resource
from onnxmodel_operator.api.status import RevisionStatus
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
    asked, offered, active = model.spec.serving.autoscaling, settings.autoscaling, seen.memory.active
    if asked is None or offered is None or not traffic or active is None:
        return None
    if model.replicas == 0 and not sleeps(model):
        return None
    revisions = [revision for revision, _ in traffic]
    capacity = _capacity(seen, revisions[0], active)
    # The load of the last minutes was that of the revision before, too: rates of the new one alone begin at none.
    revisions += [revision.revision for revision in (active, *seen.memory.history[:1])]
    return Scaling(
        kind=KINDS[offered.backend],
        least=asked.min_replicas,
        most=asked.max_replicas,
        seconds=asked.scale_down_after_seconds,
        revisions=tuple(sorted(set(revisions))),
        target=round(capacity * asked.target_capacity_percent / 100, 3) if capacity else model.spec.serving.instances,
        rows=bool(capacity),
        missing=KINDS[offered.backend] in seen.missing,
    )


def _capacity(seen: Observed, first: str, active: RevisionStatus) -> float | None:
    """The capacity of the revision with traffic. Until status has that of a new one, it is that of the active one."""
    return next((one.capacity for one in (seen.memory.revision(first), active) if one and one.capacity), None)


def superseded(seen: Observed, scaling: Scaling | None) -> tuple[Child, ...]:
    """Return the autoscalers that must go: of another backend, or of a model that has none any more."""
    kept = scaling.kind if scaling else None
    return tuple(child for child in seen.live if child[0] in KINDS.values() and child[0] != kept)
