"""Compare: a server asks a candidate what it has answered itself, and counts how often the two agree.

Whoever reads a server's metrics says so with a header of that request. It names a revision of the same model, and no address:
the server finds it by the name of its Service, in its own namespace. It holds for a while, so that a server whose reader is
gone stops by itself.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from onnxmodel_runtime.contract.model import Tolerance

HEADER = "onnxmodel-compare"
"""Of a request for metrics: the order, as JSON."""
COMPARED_HEADER = "onnxmodel-compared"
"""Of a request to the candidate: its answer goes to no client, so it waits for none, and only its execution is counted."""
LEASE_SECONDS = 20.0
"""Time for which an order holds: four readings in a rollout."""
RESULTS = ("agreed", "differed", "failed", "dropped")
"""Values of the label `result` of the metric. failed: the candidate gave no answer. dropped: it was not asked."""
MOST_ORDERS = 4
"""Orders of which a server keeps counts: each has its own, so that one order's are never another's."""
METRIC, DIFFERENCE = "onnxmodel_compared_requests_total", "onnxmodel_compared_difference_max"
_REVISION = re.compile(r"[0-9a-f]{8}")  # as names have it: a shorter one could be the end of another model's name
_LONGEST = 300
_KEY_LENGTH = 16


@dataclass(frozen=True, slots=True)
class CompareOrder:
    """Compare a share of the answers, in percent, with those of a revision of the same model."""

    revision: str
    percent: float
    tolerance: Tolerance = Tolerance()

    def text(self) -> str:
        """Return the value of the header."""
        bound = self.tolerance
        numbers = self.percent, bound.relative, bound.absolute, bound.cosine
        return json.dumps([self.revision, *map(float, numbers)])

    @property
    def key(self) -> str:
        """Value of the label `order` of the metrics: a digest of the whole order."""
        return hashlib.sha256(self.text().encode()).hexdigest()[:_KEY_LENGTH]


def read(text: str) -> CompareOrder | None:
    """Return the order of a header, or None for one that is none: anybody may have sent it."""
    if len(text) > _LONGEST:
        return None
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match found:
        case [str(revision), *numbers] if _REVISION.fullmatch(revision) and len(numbers) == 4:
            if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
                return None
            percent, relative, absolute, cosine = map(float, numbers)
            if 0 < percent <= 100 and min(relative, absolute) >= 0:
                return CompareOrder(revision, percent, Tolerance(relative, absolute, cosine))
    return None
