"""Read an OnnxModel as the API server stores it. An error names the field as the API does."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from onnxmodel_operator import names
from onnxmodel_operator.api.errors import field_errors
from onnxmodel_operator.api.spec import OnnxModelSpec
from onnxmodel_operator.api.spec.serving import Replicas

_ORDER = 64
"""Characters of an order that count: status remembers them."""
_REPLICAS = TypeAdapter(Replicas)


@dataclass(frozen=True, slots=True)
class Orders:
    """Orders to a rollout and to the measuring stages, from annotations of the model.

    promote, abort, retry and measure are followed once for each value, such as a time; "" is none. pause holds while it
    is "true".
    """

    promote: str = ""
    abort: str = ""
    retry: str = ""
    pause: bool = False
    measure: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource without its spec. `status` is the stored status, unchanged, to compare a new one with.

    replicas: spec.serving.replicas, which holds for what serves even where the rest of the spec is invalid. None where
    it cannot be read.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    status: Mapping[str, Any]
    replicas: int | None
    orders: Orders


@dataclass(frozen=True, slots=True)
class OnnxModel(Resource):
    """A resource whose spec can be read."""

    spec: OnnxModelSpec


class SpecError(ValueError):
    """An invalid spec. fields: (path below the resource, message) pairs, at least one."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.fields = fields
        super().__init__("; ".join(f"{path}: {message}" for path, message in fields))


def identify(body: Mapping[str, Any]) -> Resource:
    """Read the fields that every resource has, even one with an invalid spec. body: as the API server returned it."""
    return Resource(*_identity(body), _replicas(body), _orders(body))


def _orders(body: Mapping[str, Any]) -> Orders:
    given = body["metadata"].get("annotations") or {}
    promote, abort, retry, measure = (
        given.get(name, "")[:_ORDER] for name in (names.PROMOTE, names.ABORT, names.RETRY, names.MEASURE)
    )
    return Orders(promote, abort, retry, given.get(names.PAUSE) == "true", measure)


def _identity(body: Mapping[str, Any]) -> tuple[str, str, str, int, Mapping[str, Any]]:
    metadata = body["metadata"]
    return metadata["namespace"], metadata["name"], metadata["uid"], metadata["generation"], body.get("status") or {}


def _replicas(body: Mapping[str, Any]) -> int | None:
    spec = body.get("spec") or {}
    serving = (spec.get("serving") or {}) if isinstance(spec, Mapping) else None
    if not isinstance(serving, Mapping):
        return None
    try:
        return _REPLICAS.validate_python(serving.get("replicas", 1))
    except ValidationError:
        return None


def parse(body: Mapping[str, Any]) -> OnnxModel:
    """Parse the whole resource with the types that the API server checks at apply: "2" is no integer.

    Raises SpecError.
    """
    try:
        spec = _read_spec(json.dumps(body.get("spec") or {}))
    except ValidationError as error:
        raise SpecError(
            [(f"spec.{path}" if path else "spec", text) for path, text in field_errors(error, OnnxModelSpec)]
        ) from error
    return OnnxModel(*_identity(body), spec.serving.replicas, _orders(body), spec)


@lru_cache(maxsize=1024)
def _read_spec(text: str) -> OnnxModelSpec:
    """A spec from JSON. Raises ValidationError. A spec is read in each turn of its model, and seldom changes."""
    return OnnxModelSpec.model_validate(_whole(json.loads(text)), strict=True)


def _whole(value: Any) -> Any:
    """The value with 2.0 as 2: for the API server that is an integer too."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_whole(item) for item in value]
        case Mapping():
            return {key: _whole(item) for key, item in value.items()}
    return value
