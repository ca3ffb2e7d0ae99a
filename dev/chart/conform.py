"""kubeconform, with the schemas of an API server: whether each object of the chart is one of its kind, without a typo."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dev.cluster.golang import module_program
from dev.cluster.shell import run

_FOLDER = Path(__file__).parent / "kubeconform"
_PACKAGE = "github.com/yannh/kubeconform/cmd/kubeconform"
_DEFINITIONS = "definitions.json"


def write_schemas(folder: Path, openapi: Mapping[str, Any]) -> None:
    """Write a schema for each kind of an API server's /openapi/v2. Unknown fields are errors, as kubectl has it."""
    definitions = dict(openapi["definitions"])
    _forbid_others(definitions)
    (folder / _DEFINITIONS).write_text(json.dumps({"definitions": definitions}))
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            words = (kind["kind"].lower(), kind["group"].partition(".")[0], kind["version"])
            reference = {"$ref": f"{_DEFINITIONS}#/definitions/{name}"}
            (folder / f"{'-'.join(filter(None, words))}.json").write_text(json.dumps(reference))


def summary(folder: Path, manifests: str) -> dict[str, int]:
    """Return how many of the objects are valid, invalid, errors and skipped. Raises CommandError for one that is not valid."""
    told = run(
        module_program(_FOLDER, _PACKAGE), "-strict", "-summary", "-output=json", "-skip=CustomResourceDefinition",
        f"-schema-location={folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", "-", stdin=manifests,
    )  # fmt: skip
    found: dict[str, int] = json.loads(told)["summary"]
    return found


def _forbid_others(schema: Any) -> None:
    if isinstance(schema, list):
        for item in schema:
            _forbid_others(item)
    elif isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
            schema.pop("type", None)
        for item in schema.values():
            _forbid_others(item)
