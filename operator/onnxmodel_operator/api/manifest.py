"""Checks of a manifest that the API server makes before it reads the spec, for commands without an API server."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from onnxmodel_operator import names
from onnxmodel_operator.api.patterns import MODEL_NAME, MODEL_NAME_MESSAGE, NAMESPACE
from onnxmodel_runtime.contract.text import nearest

_FIELDS = ("apiVersion", "kind", "metadata", "spec", "status")


class RepeatedKey(yaml.YAMLError):
    """A mapping has a key twice. line: of the second occurrence; the first line is 1."""

    def __init__(self, key: str, line: int) -> None:
        super().__init__(f"duplicate key {key}; remove one")
        self.line = line


class KubernetesLoader(yaml.SafeLoader):
    """YAML as kubectl reads it: 1e3 is a number, 2026-01-02 is text. Raises RepeatedKey for a duplicate key.

    kubectl takes the last of the duplicates without a warning, which hides a mistake.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping, and check that its keys differ."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                raise RepeatedKey(key.value, key.start_mark.line + 1)
            seen.add((key.tag, key.value))
        return node


KubernetesLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)
KubernetesLoader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))


def envelope_errors(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (field, message) of every error outside the spec. The object's metadata must have a name."""
    metadata = body["metadata"]
    wrong = [(str(field), f"unknown field{nearest(str(field), _FIELDS)}") for field in body if field not in _FIELDS]
    if body.get("apiVersion") != names.API_VERSION:
        wrong.append(("apiVersion", f"must be {names.API_VERSION}, not {body.get('apiVersion', 'missing')}"))
    if not re.fullmatch(MODEL_NAME, metadata["name"]):
        wrong.append(("metadata.name", MODEL_NAME_MESSAGE.removeprefix("metadata.name ")))
    namespace = metadata.get("namespace")
    if namespace is not None and not (isinstance(namespace, str) and re.fullmatch(NAMESPACE, namespace)):
        wrong.append(("metadata.namespace", "must be a DNS label of at most 63 characters"))
    for field in ("labels", "annotations"):
        values = metadata.get(field) or {}
        if not isinstance(values, Mapping):
            wrong.append((f"metadata.{field}", "must be a mapping"))
            continue
        wrong += [
            (f"metadata.{field}.{key}", "must be a string; put it in quotes")
            for key, value in values.items()
            if not isinstance(value, str | None)
        ]
    return wrong
