"""W3C trace context: the trace of a request, and our own span in it.

Nothing is exported: the access log carries the ids, and the response's `traceresponse` gives the caller our span's.
"""

import re
import secrets
from dataclasses import dataclass

REQUEST_HEADER = "traceparent"
RESPONSE_HEADER = "traceresponse"
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class Trace:
    """Ids in lower-case hexadecimal. parent: the caller's span; span: ours."""

    trace: str
    parent: str
    span: str
    flags: str

    @property
    def response(self) -> str:
        """The header of the response."""
        return f"00-{self.trace}-{self.span}-{self.flags}"


def parse(header: str) -> Trace | None:
    """Parse a `traceparent` header into a trace with a new span. None for an invalid one, as the standard demands."""
    found = _PARENT.fullmatch(header.strip()) if header else None
    if found is None:
        return None
    version, trace, parent, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(parent, 16):
        return None
    return Trace(trace, parent, secrets.token_hex(8), flags if version == "00" else f"{int(flags, 16) & 1:02x}")
