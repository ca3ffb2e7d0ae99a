"""The access log: a line of JSON on standard output for each inference, for machines to read. Off unless asked for."""

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from onnxmodel_runtime.server.tracing import Trace


@dataclass(frozen=True, slots=True)
class Caller:
    """The origin of a request. protocol: "http" or "grpc"; address: the peer's, "" if it is not known."""

    protocol: str = ""
    address: str = ""
    trace: Trace | None = None


NOBODY = Caller()


def entry(caller: Caller, fields: dict[str, Any]) -> str:
    """Format one line. fields: as service.py fills them; empty ones are left out."""
    trace = caller.trace
    document = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "log": "access",
        "protocol": caller.protocol,
        "address": caller.address,
        **fields,
        "trace_id": trace.trace if trace else "",
        "span_id": trace.span if trace else "",
        "parent_id": trace.parent if trace else "",
    }
    return json.dumps({key: value for key, value in document.items() if value != ""}, separators=(",", ":"))


def write(caller: Caller, fields: dict[str, Any]) -> None:
    """Write a line. Standard output of a pod does not block for long. If it is closed, the server goes on."""
    try:
        sys.stdout.write(entry(caller, fields) + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        pass
