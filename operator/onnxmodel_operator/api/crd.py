"""The CustomResourceDefinition, made from the pydantic models. `python -m onnxmodel_operator.api.crd` writes it.

pydantic emits JSON Schema 2020-12, the API server wants a structural OpenAPI v3 schema: references are inlined, optional
fields are fields that are not required, `const` is an enum of one, and what only pydantic needs is dropped.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic.alias_generators import to_camel

from onnxmodel_operator import names
from onnxmodel_operator.api.patterns import MODEL_NAME, MODEL_NAME_MESSAGE
from onnxmodel_operator.api.spec import OnnxModelSpec
from onnxmodel_operator.api.status import OnnxModelStatus

_KEPT = (
    "type", "description", "enum", "format", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems",
    "maxItems", "maxProperties", "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
)  # fmt: skip

# All but READY, PHASE, REASON and MESSAGE are of what serves: never of what is being proven.
_COLUMNS: tuple[tuple[str, str, str, int], ...] = (
    ("READY", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("PHASE", "string", ".status.phase", 0),
    ("RUNTIME", "string", ".status.serving.runtime", 0),
    ("PROVIDER", "string", ".status.serving.provider", 0),
    ("VARIANT", "string", ".status.serving.variant", 0),
    ("P99", "string", ".status.serving.p99", 0),
    ("THROUGHPUT", "string", ".status.serving.throughput", 0),
    ("SIZES", "string", ".status.serving.sizes", 1),
    ("REPLICAS", "string", ".status.serving.ready", 0),
    ("AGE", "date", ".metadata.creationTimestamp", 0),
    ("REASON", "string", ".status.reason", 1),
    ("OPSET", "integer", ".status.serving.opset", 1),
    ("SHA256", "string", ".status.serving.sourceSha256", 1),
    ("URL", "string", ".status.serving.url", 1),
    ("MESSAGE", "string", ".status.message", 1),
)

_NAME_RULE = {"rule": f"self.metadata.name.matches('{MODEL_NAME}')", "message": MODEL_NAME_MESSAGE}


def crd() -> dict[str, Any]:
    """Return the CustomResourceDefinition as plain data."""
    status = structural(OnnxModelStatus.model_json_schema(by_alias=True))
    # Without this, kstatus calls a new resource ready before the operator has seen it.
    status["default"] = {"observedGeneration": -1}
    schema = {
        "type": "object",
        "required": ["spec"],
        "description": "An ONNX model that is validated, optimized, benchmarked and served.",
        "x-kubernetes-validations": [_NAME_RULE],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(OnnxModelSpec.model_json_schema(by_alias=True)),
            "status": status,
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.KIND.lower(),
                "shortNames": ["onnx"],
                "categories": ["inference"],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.serving.replicas",
                            "statusReplicasPath": ".status.serving.replicas",
                            "labelSelectorPath": ".status.serving.selector",
                        },
                    },
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path} | ({"priority": priority} if priority else {})
                        for name, kind, path, priority in _COLUMNS
                    ],
                }
            ],
        },
    }


_OURS = re.compile(r"\b[a-z0-9]+(_[a-z0-9]+)+\b")


def structural(schema: Mapping[str, Any], definitions: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Convert a pydantic JSON schema to a structural OpenAPI v3 schema."""
    definitions = definitions if definitions is not None else schema.get("$defs", {})
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[1]]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    if "anyOf" in schema:
        # Optional[X]: the API server's way to say "null" is to leave the field out.
        (option,) = [option for option in schema["anyOf"] if option.get("type") != "null"]
        rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
        return structural({**option, **rest}, definitions)
    out: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    if "description" in out:  # a class's docstring calls fields as Python does
        out["description"] = _OURS.sub(lambda found: to_camel(found[0]), out["description"])
    if "const" in schema:
        out["enum"] = [schema["const"]]
    for bound, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in schema:
            out[inclusive], out[bound] = schema[bound], True
    if "items" in schema:
        out["items"] = structural(schema["items"], definitions)
    if "properties" in schema:
        out["properties"] = {name: structural(item, definitions) for name, item in schema["properties"].items()}
        if required := schema.get("required"):
            out["required"] = list(required)
    elif isinstance(schema.get("additionalProperties"), Mapping):
        out["additionalProperties"] = structural(schema["additionalProperties"], definitions)
    elif "patternProperties" in schema:  # a structural schema has no pattern of keys: a CEL rule has it
        (values,) = schema["patternProperties"].values()
        out["additionalProperties"] = structural(values, definitions)
    if "default" in schema:
        # An object's defaults live in its own fields; a default of the whole would not be merged with what users set.
        out["default"] = {} if out.get("type") == "object" else schema["default"]
    return out


def to_yaml(manifest: Mapping[str, Any]) -> str:
    """Dump the manifest as a YAML file that names its source."""
    return "# Generated from operator/onnxmodel_operator/api by `make crds`. Do not edit.\n" + yaml.safe_dump(
        dict(manifest), sort_keys=False, width=120
    )


def chart_template(manifest: Mapping[str, Any]) -> str:
    """Return the manifest as a template of the chart: installed when crds.enabled, kept on uninstall when crds.keep."""
    head, metadata, rest = to_yaml(manifest).partition("metadata:\n")
    keep = "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n"
    return "{{- if .Values.crds.enabled }}\n" + head + metadata + keep + rest + "{{- end }}\n"


def files(root: Path) -> dict[Path, str]:
    """Return every generated file below the project's root, with its content."""
    manifest = crd()
    return {
        root / "crds" / f"{names.PLURAL}.yaml": to_yaml(manifest),
        root / "charts" / "onnxmodel-operator" / "templates" / "crds.yaml": chart_template(manifest),
    }


if __name__ == "__main__":
    for path, text in files(Path(sys.argv[1])).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"{path}: {len(text)} bytes")
