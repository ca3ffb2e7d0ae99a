"""What goes wrong between the operator and the API server. Needs no client, so that tests of a reconcile need none."""

import re


class ApiError(Exception):
    """The API server refused. status: the HTTP code; the text is in the API server's own words."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


TRANSIENT = (ApiError, OSError, TimeoutError)
"""All that a request to the API server raises: `cluster.client` makes the errors of its libraries one of these."""

_OUTAGE = (0, 401, 429, 502, 503, 504)


def is_outage(error: Exception) -> bool:
    """Whether nobody answered, or the answer says nothing of the request: any other one would have got it, too.

    A 500 is about the request: an admission webhook that cannot be called, for example.
    """
    return error.status in _OUTAGE if isinstance(error, ApiError) else isinstance(error, OSError | TimeoutError)


def in_a_leaving_namespace(error: ApiError) -> bool:
    """Whether nothing can be created any more because the namespace is being deleted, and the model with it."""
    return error.status == 403 and "because it is being terminated" in str(error)


def lacks_a_right(error: ApiError) -> bool:
    """Whether the operator itself may not do this, by RBAC. Other refusals are about what was asked for."""
    return error.status == 403 and re.search(r'User "[^"]*" cannot \S+ resource ', str(error)) is not None


def is_of_an_older_crd(error: Exception) -> bool:
    """Whether the CRD lacks a field of the status that the operator writes."""
    return "Kind=OnnxModel" in str(error) and "field not declared in schema" in str(error)


class NotLeadingError(ApiError):
    """Another replica may lead, so nothing was written."""


class StaleError(ApiError):
    """A precondition failed: the object is not what the cache says any more, so nothing that was decided from it holds."""


class NameTakenError(ApiError):
    """An object that the model needs exists and is not the model's. leaving: it is an earlier model's, about to be removed."""

    def __init__(self, kind: str, name: str, *, leaving: bool) -> None:
        self.leaving = leaving
        whose = "belongs to an earlier model, which is being deleted" if leaving else "does not belong to this model"
        super().__init__(409, f"{kind} {name} exists and {whose}")
