"""Read the number that Prometheus gives to a query."""

import json
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

MOST_BYTES = 1 << 16
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Question:
    """A query. about: what its answer is for; the same query for something else is another question."""

    about: str
    query: str


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The number that a query gives. Without one, why: the reason, in words."""

    value: float | None
    why: str = ""


def read(status: int, body: bytes) -> QueryResult:
    """Return the number of an answer of Prometheus' HTTP API: of a scalar, or of a vector with one sample."""
    if len(body) > MOST_BYTES:
        return QueryResult(None, f"Prometheus answered more than {MOST_BYTES} bytes: the query must give one number")
    try:
        told: Any = json.loads(body)
    except (ValueError, RecursionError):
        return QueryResult(None, f"Prometheus answered with status {status} and no JSON")
    match told:
        case {"status": "success", "data": {"resultType": "scalar", "result": [_, str(value)]}}:
            return _number(value)
        case {"status": "success", "data": {"resultType": "vector", "result": [{"value": [_, str(value)]}]}}:
            return _number(value)
        case {"status": "success", "data": {"resultType": "vector", "result": []}}:
            return QueryResult(None, "the query gives no sample")
        case {"status": "success", "data": {"resultType": "vector", "result": [*samples]}}:
            return QueryResult(None, f"the query gives {len(samples)} samples: it must give one number")
        case {"status": "success", "data": {"resultType": str(kind)}}:
            return QueryResult(None, f"the query gives a {short(kind)}: it must give one number")
        case {"status": "error", "error": str(why)}:
            return QueryResult(None, f"Prometheus refused the query: {short(why)}")
    if status != HTTPStatus.OK:
        return QueryResult(None, f"Prometheus answered with status {status}")
    return QueryResult(None, "Prometheus answered something that is no result of a query")


def _number(text: str) -> QueryResult:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    return (
        QueryResult(value)
        if math.isfinite(value)
        else QueryResult(None, f"the query gives {short(text)}, which is no number")
    )


def short(text: str) -> str:
    """Return the beginning of a foreign text, as one line."""
    return " ".join(text.split())[:_LONGEST]
