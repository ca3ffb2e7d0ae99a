"""W3C trace context: whose trace a request belongs to, and our own span in it.

Nothing is exported: the access log carries the ids, and the answer's `traceresponse` tells the caller our span's.
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
        """The answer's header."""
        return f"00-{self.trace}-{self.span}-{self.flags}"


def parse(header: str) -> Trace | None:
    """The trace of a `traceparent` header, with a new span; None where it is not one, which the standard says to ignore."""
    found = _PARENT.fullmatch(header.strip()) if header else None
    if found is None:
        return None
    version, trace, parent, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(parent, 16):
        return None
    return Trace(trace, parent, secrets.token_hex(8), flags if version == "00" else f"{int(flags, 16) & 1:02x}")
