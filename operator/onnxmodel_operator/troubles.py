"""What a plan becomes when carrying it out fails: the same facts, and a progress that says why. Pure."""

import dataclasses

from onnxmodel_operator.api.spec import Resource
from onnxmodel_operator.cluster.errors import ApiError, NameTakenError
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.plan import Plan, Progress, State, Trouble, active_revision
from onnxmodel_runtime.contract import Failure


def not_applied(decided: Plan, error: ApiError) -> Plan:
    """The API server refused a write. What may mend without anybody's help is Reconciling: quotas change."""
    message = f"the API server refuses what the model needs: {error}"
    stalled = True
    match error:
        case NameTakenError(leaving=True):
            stalled = False
            failure = Failure(
                "EarlierModelLeaves", message, "Nothing needs doing: it is tried again until that is gone."
            )
        case NameTakenError():
            failure = Failure(
                "NameTaken", message, "Give the model another name, or delete that object if nobody needs it."
            )
        case ApiError(status=422):
            failure = Failure(
                "ApplyFailed",
                message,
                "Correct the field of the spec that it speaks of (serving.resources, for example).",
            )
        case _:
            stalled = False
            failure = Failure(
                "ApplyFailed", message, "Raise the quota, or change the admission rule. It is tried again every minute."
            )
    phase = "Failed" if stalled else decided.progress.phase
    state = State.STALLED if stalled else State.RECONCILING
    progress = Progress(state, phase, failure.reason, message, Trouble("apply", failure))
    return dataclasses.replace(decided, progress=progress)


def defect(resource: Resource, seen: Observed, error: Exception) -> Plan:
    """The operator itself failed: said in status, so that nobody waits for a model that the log alone tells of."""
    failure = Failure(
        "InternalError",
        f"a defect of the operator: {type(error).__name__}: {error}"[:1024],
        "Please report it with the operator's log. It is tried again, at most a minute apart.",
    )
    progress = Progress(State.RECONCILING, "Pending", failure.reason, failure.message, Trouble("operator", failure))
    active = active_revision(resource, seen)
    return Plan(progress, route=active, active=active)
