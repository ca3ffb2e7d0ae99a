"""Plans whose execution failed: the same facts, with a progress that reports the failure. Pure."""

import dataclasses

from onnxmodel_operator.api.resource import Resource
from onnxmodel_operator.cluster.errors import (
    ApiError,
    NameTakenError,
    StaleError,
    in_a_leaving_namespace,
    is_outage,
    lacks_a_right,
)
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.plan.rollout import traffic
from onnxmodel_operator.plan.rollout.active import active_revision
from onnxmodel_operator.plan.values import Phase, Plan, Progress, State, Trouble, stalled
from onnxmodel_runtime.contract.outcome import Failure

_ANSWERS = (400, 403, 422)
"""The API server understood and refuses: quota, admission, a rule. Worth saying in status; anything else just passes."""


_PATIENCE = 3
"""After so many failures in a row, what the API server cannot do (a webhook that cannot be called) is worth saying, too. So
is a conflict about what nobody else has changed: a quota's own update makes one that passes, a webhook one that does not.
"""


def refuses_content(error: ApiError) -> bool:
    """Return whether a status was refused because of its content: by the schema, an admission policy or a webhook."""
    return error.status in _ANSWERS and not in_a_leaving_namespace(error) and not lacks_a_right(error)


def is_refusal(error: ApiError, failures: int = 0) -> bool:
    """Return whether to report the refusal of a child in status. failures: of the reconcile before it, in a row."""
    if in_a_leaving_namespace(error):
        return False
    lasts = failures >= _PATIENCE and (_is_conflict(error) or (error.status >= 500 and not is_outage(error)))
    return lasts or error.status in _ANSWERS or isinstance(error, NameTakenError)


def _is_conflict(error: ApiError) -> bool:
    return error.status == 409 and not isinstance(error, StaleError)


def not_applied(decided: Plan, active: str | None, error: ApiError) -> Plan:
    """The plan after the API server refused a write. What may pass without help, such as a quota, is Reconciling.

    active: the revision that was active before and still is, because a turn that was not carried out replaces nothing.
    """
    message = f"the API server rejects an object of the model: {error}"
    fatal = True
    match error:
        case NameTakenError(leaving=True):
            fatal = False
            failure = Failure(
                "EarlierModelLeaves", message, "No action needed: it is retried until that object is gone."
            )
        case NameTakenError():
            failure = Failure("NameTaken", message, "Rename the model, or delete that object if it is not needed.")
        case ApiError(status=422):
            failure = Failure(
                "ApplyFailed",
                message,
                "Correct the field that the message names, for example in spec.serving.resources.",
            )
        case ApiError(status=status) if status >= 500:
            fatal = False
            message = f"the API server fails on an object of the model: {error}"
            failure = Failure(
                "ApplyFailed",
                message,
                "Fix what the message names, for example an admission webhook. It is retried every minute.",
            )
        case _ if lacks_a_right(error):
            fatal = False
            failure = Failure(
                "ApplyFailed",
                message,
                "Grant the operator's ServiceAccount the permissions of the chart's ClusterRole "
                "(docs/install.md#permissions). It is retried every minute.",
            )
        case _:
            fatal = False
            failure = Failure(
                "ApplyFailed",
                message,
                "Raise the quota or change the admission rule in the message. It is retried every minute.",
            )
    phase = Phase.FAILED if fatal else decided.progress.phase
    state = State.STALLED if fatal else State.RECONCILING
    progress = Progress(state, phase, failure.reason, message, Trouble("apply", failure))
    return dataclasses.replace(decided, progress=progress, active=active)


def status_refused(error: ApiError) -> Progress:
    """The progress after the API server refused the content of a status: the CRD is of another release, or an admission
    rule forbids it.
    """
    failure = Failure(
        "StatusRefused",
        f"the API server rejects the status, so the rest of it is out of date: {error}",
        "Apply the CRD of the operator's release, or change the admission rule in the message; "
        "otherwise report it. The work continues, and the status is retried at least once a minute.",
    )
    return stalled(Trouble("status", failure))


def defect(resource: Resource, seen: Observed, error: Exception) -> Plan:
    """The plan after the operator itself failed, so that status reports what otherwise only the log would."""
    failure = Failure(
        "InternalError",
        f"internal error in the operator: {type(error).__name__}: {error}"[:1024],
        "Report it with the log of Deployment onnxmodel-operator. It is retried at least once a minute.",
    )
    progress = Progress(State.RECONCILING, Phase.PENDING, failure.reason, failure.message, Trouble("operator", failure))
    active = active_revision(seen)
    return Plan(progress, traffic=traffic.before(resource, seen, active), active=active)
