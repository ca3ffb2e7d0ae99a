"""What the chart lets the operator do."""

from pathlib import Path

import yaml

_RBAC = Path(__file__).parents[1] / "charts" / "onnxmodel-operator" / "templates" / "rbac.yaml"


def rights() -> dict[str, set[str]]:
    """Verbs by resource: the ClusterRole's, and with two or more replicas the Role's. Not what users get."""
    own = _RBAC.read_text().partition("rbac.aggregate")[0]
    rules = [yaml.safe_load(line)[0] for line in own.splitlines() if line.startswith("- {apiGroups")]
    found: dict[str, set[str]] = {}
    for rule in rules:
        for resource in rule["resources"]:
            found.setdefault(resource, set()).update(rule["verbs"])
    return found
