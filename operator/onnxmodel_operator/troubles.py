"""What a plan becomes when carrying it out fails: the same facts, and a progress that says why. Pure."""

import dataclasses

from onnxmodel_operator.api.spec import Resource
from onnxmodel_operator.cluster.errors import ApiError, NameTakenError
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.plan import Plan, Progress, State, Trouble, active_revision
from onnxmodel_runtime.contract import Failure


def not_applied(decided: Plan, error: ApiError) -> Plan:
    """The API server refused a write. What may mend without anybody's help is Reconciling: quotas change."""
    match error:
        case NameTakenError(leaving=True):
            state, reason, hint = State.RECONCILING, "NameTaken", "Nothing needs doing: it is tried again."
        case NameTakenError():
            state, reason = State.STALLED, "NameTaken"
            hint = "Give the model another name, or delete that object if nobody needs it."
        case ApiError(status=422):
            state, reason = State.STALLED, "ApplyFailed"
            hint = "Correct the field of the spec that the message speaks of (serving.resources, for example)."
        case _:
            state, reason = State.RECONCILING, "ApplyFailed"
            hint = (
                "Raise the quota, or change what the admission rule refuses. It is tried again, at most a minute apart."
            )
    failure = Failure(reason, f"the API server refuses what the model needs: {error}", hint)
    phase = "Failed" if state is State.STALLED else decided.progress.phase
    progress = Progress(state, phase, reason, failure.message, Trouble("apply", failure))
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
