"""Errors of requests to the API server. Independent of the client, so that tests of a reconcile need none."""

import re


class ApiError(Exception):
    """A refusal by the API server. status: the HTTP code. The text is the API server's own."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


TRANSIENT = (ApiError, OSError, TimeoutError)
"""Every error that a request to the API server raises: `cluster.client` converts the errors of its libraries to these.
"""

_OUTAGE = (0, 401, 429, 502, 503, 504)


def is_outage(error: Exception) -> bool:
    """Return whether the API server is unreachable or fails in a way that any request would meet.

    A 500 is no outage: it concerns the request, for example an admission webhook that cannot be called.
    """
    return error.status in _OUTAGE if isinstance(error, ApiError) else isinstance(error, OSError | TimeoutError)


def in_a_leaving_namespace(error: ApiError) -> bool:
    """Return whether the request was refused because its namespace is being deleted, and the model with it."""
    return error.status == 403 and "because it is being terminated" in str(error)


def lacks_a_right(error: ApiError) -> bool:
    """Return whether RBAC denies the operator this request. Other refusals concern the content of the request."""
    return error.status == 403 and re.search(r'User "[^"]*" cannot \S+ resource ', str(error)) is not None


def is_of_an_older_crd(error: Exception) -> bool:
    """Return whether the installed CRD lacks a status field that the operator writes."""
    return "Kind=OnnxModel" in str(error) and "field not declared in schema" in str(error)


class NotLeadingError(ApiError):
    """Another replica may lead, so nothing was written."""


class StaleError(ApiError):
    """A precondition failed: the object has changed since it was cached, so every decision based on it is void."""


class NameTakenError(ApiError):
    """The name of an object that the model needs is taken. leaving: by an earlier model's, which is being deleted."""

    def __init__(self, kind: str, name: str, *, leaving: bool) -> None:
        self.leaving = leaving
        whose = "belongs to an earlier model, which is being deleted" if leaving else "does not belong to this model"
        super().__init__(409, f"{kind} {name} exists and {whose}")
