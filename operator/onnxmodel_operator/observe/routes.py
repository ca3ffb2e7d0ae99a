"""Read HTTPRoutes and GRPCRoutes: where they lead, and what the Gateways say of them."""

from datetime import datetime

from onnxmodel_operator import names
from onnxmodel_operator.observe.objects import Object, label
from onnxmodel_operator.observe.values import RouteSeen
from onnxmodel_operator.times import parse_time

_CONDITIONS = ("Accepted", "ResolvedRefs")


def read_route(route: Object) -> RouteSeen:
    """Read a route of a model, whoever wrote its status."""
    metadata, model = route["metadata"], label(route, names.LABEL_MODEL)
    backends = [ref["name"] for rule in route["spec"].get("rules", ()) for ref in rule.get("backendRefs", ())]
    canaries = filter(None, (names.revision_of_canary(model, name) for name in backends))
    return RouteSeen(
        kind=route["kind"],
        canary=next(canaries, ""),
        verdicts={
            (ref.get("namespace", metadata["namespace"]), ref["name"], ref.get("sectionName", "")): _verdict(parent)
            for parent in route.get("status", {}).get("parents", ())
            for ref in (parent["parentRef"],)
        },
        made=parse_time(metadata.get("creationTimestamp")),
        written=_written(metadata),
    )


def _written(metadata: Object) -> datetime | None:
    """The time of our last change, which the API server keeps by manager."""
    ours = (entry for entry in metadata.get("managedFields", ()) if entry.get("manager") == names.MANAGER)
    return max((time for entry in ours if (time := parse_time(entry.get("time")))), default=None)


def _verdict(parent: Object) -> str | None:
    """The objection of a parent to the route, "" if it accepts it. None while that has not decided."""
    conditions = {condition["type"]: condition for condition in parent.get("conditions", ())}
    found = [conditions[kind] for kind in _CONDITIONS if kind in conditions]
    for condition in found:
        if condition["status"] == "False":
            return f"{condition.get('reason', condition['type'])}: {condition.get('message', '')}"[:512]
    return "" if len(found) == len(_CONDITIONS) and all(c["status"] == "True" for c in found) else None
