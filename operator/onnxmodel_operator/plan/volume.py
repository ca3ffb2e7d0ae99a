"""The model's volume, which holds everything that its stages make, unless a remote store does."""

from onnxmodel_operator import names
from onnxmodel_operator.plan.values import Advance, Context, Phase, Stop, Trouble, going, stalled
from onnxmodel_runtime.contract.outcome import Failure


def look(context: Context) -> Advance | Stop:
    """Require a volume that is not being deleted, if the platform's artifacts are on volumes."""
    if context.settings.artifacts.remote is not None:
        return Advance(context)
    if context.seen.claim_leaves:
        name, namespace = context.model.name, context.model.namespace
        message = "the model's PersistentVolumeClaim is being deleted, and waits for the pods that use it"
        command = f"kubectl -n {namespace} delete deployment -l {names.LABEL_MODEL}={name}"
        hint = f"If the deletion is intended, delete the Deployment too, and everything is created again: {command}"
        return Stop(context, stalled(Trouble("volume", Failure("VolumeDeleting", message, hint))))
    if context.seen.claim_uid is None:
        return Stop(
            context, going(Phase.PENDING, "CreatingVolume", "the model's PersistentVolumeClaim is being created")
        )
    return Advance(context)
