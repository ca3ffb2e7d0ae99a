"""Make the HTTPRoute and the GRPCRoute of a model."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from onnxmodel_operator import names
from onnxmodel_operator.plan.values import RoutePlan
from onnxmodel_operator.platform.settings import Routes
from onnxmodel_operator.render.parts import Manifest, Owner, metadata, stamped
from onnxmodel_operator.render.templates import render_template

_PORTS = {"HTTPRoute": 8000, "GRPCRoute": 8001}
_EVERYTHING: Mapping[str, Mapping[str, Any]] = {
    "HTTPRoute": {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]},
    "GRPCRoute": {},
}
"""As the API server would complete a rule for all requests."""


def route_manifests(owner: Owner, plan: RoutePlan, settings: Routes, hosts: Mapping[str, str]) -> Iterable[Manifest]:
    """Make the routes of the kinds that the cluster has. None before there is a Service to lead to."""
    if not plan.backends:
        return
    for kind in plan.kinds:
        yield stamped(
            render_template(
                "route.yaml.j2",
                kind=kind,
                meta=metadata(owner, owner.name),
                parents=[_reference(parent.data) for parent in settings.parent_refs],
                hostnames=[hosts[kind]],
                rules=_rules(owner.name, kind, plan.backends, plan.rules[kind]),
            )
        )


def _reference(parent: Mapping[str, Any]) -> dict[str, Any]:
    section = {"sectionName": parent["section_name"]} if parent["section_name"] else {}
    fixed = {"group": "gateway.networking.k8s.io", "kind": "Gateway"}
    return {**fixed, "name": parent["name"], "namespace": parent["namespace"], **section}


def _rules(
    model: str, kind: str, backends: Sequence[tuple[str, int]], there: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The rules as they are, with our backends in each that leads to the model. One for all requests if none does.

    Rules are one value for server-side apply: what others added to them would go if it were not applied with ours.
    """
    ours = [
        {"group": "", "kind": "Service", "name": name, "port": _PORTS[kind], "weight": weight}
        for name, weight in backends
    ]
    out, found = [], False
    for rule in map(_copied, there):
        references = rule.get("backendRefs", ())
        others = [reference for reference in references if not _is_ours(model, reference)]
        if len(others) < len(references):
            rule, found = {**rule, "backendRefs": [*ours, *others]}, True
        out.append(rule)
    return out if found else [{**_EVERYTHING[kind], "backendRefs": ours}, *out]


def _copied(value: Any) -> Any:
    """Plain data, as templates take it, of what the cache holds."""
    match value:
        case Mapping():
            return {key: _copied(item) for key, item in value.items()}
        case list():
            return [_copied(item) for item in value]
        case _:
            return value


def _is_ours(model: str, reference: Mapping[str, Any]) -> bool:
    name, elsewhere = reference["name"], reference.get("namespace")
    service = reference.get("kind", "Service") == "Service" and not elsewhere
    return bool(service and (name == model or names.revision_of_canary(model, name)))
