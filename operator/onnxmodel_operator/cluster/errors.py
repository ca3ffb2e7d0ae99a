"""What goes wrong between the operator and the API server. Needs no client, so that tests of a reconcile need none."""


class ApiError(Exception):
    """The API server refused. status: the HTTP code; the text is in the API server's own words."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)
