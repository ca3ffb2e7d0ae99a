"""Define the base class, shared types and CEL rules of the API's models."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel

from onnxmodel_operator.api.patterns import QUANTITY

Name = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Quantity = Annotated[str, StringConstraints(max_length=32, pattern=QUANTITY)]


class ApiObject(BaseModel):
    """An object of the API: camelCase in manifests, snake_case in Python, immutable, and without unknown fields."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


def cel(*rules: tuple[str, str, str]) -> dict[str, Any]:
    """Return (rule, message, field) tuples as CEL rules in the `json_schema_extra` of the object that they check."""
    return {
        "x-kubernetes-validations": [
            {"rule": rule, "message": message, "fieldPath": field} for rule, message, field in rules
        ]
    }
