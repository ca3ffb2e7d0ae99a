"""What the chart lets the operator do, and what a request needs."""

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


def needed(verb: str, path: str, status: int = 200) -> set[tuple[str, str]]:
    """What RBAC asks for a request: verbs and the resource. verb: watch, or the method in lower case.

    status: of the answer. An apply that makes an object is a creation as well.
    """
    resource, named = "/".join(words(path)[::2]), len(words(path)) > 1
    if verb == "patch" and status == 201:
        return {("patch", resource), ("create", resource)}
    return {({"get": "get" if named else "list", "post": "create", "put": "update"}.get(verb, verb), resource)}


def words(path: str) -> list[str]:
    """onnxmodels, name, status of /apis/group/v1/namespaces/n/onnxmodels/name/status."""
    found = path.strip("/").split("/")[2 if path.startswith("/api/") else 3 :]
    return found[2:] if len(found) > 2 and found[0] == "namespaces" else found
