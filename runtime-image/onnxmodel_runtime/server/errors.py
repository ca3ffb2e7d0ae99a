"""Errors of a request, in Triton's vocabulary: clients and dashboards know it."""

from enum import StrEnum

MAX_MESSAGE = 2000  # a message repeats what the client sent, and must not become as large as that


class Code(StrEnum):
    """The kinds of failure. The fronts map them to HTTP statuses and to gRPC codes."""

    INVALID = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    TOO_LARGE = "RESOURCE_EXHAUSTED"
    UNSUPPORTED = "UNIMPLEMENTED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


HTTP_STATUS = {
    Code.INVALID: 400,
    Code.NOT_FOUND: 404,
    Code.TOO_LARGE: 413,
    Code.UNSUPPORTED: 501,
    Code.UNAVAILABLE: 503,
    Code.INTERNAL: 500,
}


class Reason(StrEnum):
    """Values of the label `reason` of nv_inference_request_failure."""

    REJECTED = "REJECTED"
    CANCELED = "CANCELED"
    BACKEND = "BACKEND"
    OTHER = "OTHER"


class Ended(StrEnum):
    """Reasons for which the watchdog ends a request: values of the label `reason` of its metric."""

    EXPIRED = "EXPIRED"
    THREAD_DIED = "THREAD_DIED"
    LOST = "LOST"


class ServerError(Exception):
    """A failed request. The message is a sentence for the client."""

    def __init__(self, message: str, code: Code = Code.INVALID, reason: Reason = Reason.OTHER) -> None:
        if len(message) > MAX_MESSAGE:
            message = message[:MAX_MESSAGE] + "…"
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason


class BusyHereError(ServerError):
    """There is no time for a compared request. seconds: until there may be; 0: nobody knows."""

    def __init__(self, seconds: float) -> None:
        super().__init__("this is no time for compared requests", Code.UNAVAILABLE, Reason.REJECTED)
        self.seconds = seconds
