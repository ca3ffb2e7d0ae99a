"""Routes of Gateway API: the share of each revision in them, and what the Gateways say of them.

A Gateway divides requests exactly, whatever the numbers of pods. It answers 503 for a backend without endpoints, and one
whose weight was 0 may lose connections when that is raised: a revision is in a route only while it can answer.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from onnxmodel_operator import names
from onnxmodel_operator.api.resource import Resource
from onnxmodel_operator.observe import Observed, RevisionSeen
from onnxmodel_operator.plan.values import RoutePlan, Traffic
from onnxmodel_operator.platform.settings import Parent, Routes, Settings

_API = "gateway.networking.k8s.io/v1"
KINDS = ("HTTPRoute", "GRPCRoute")
SETTLED_SECONDS = 2.0
"""A Gateway hears of a pod through EndpointSlices, in its own time."""
HEARD_SECONDS = 5.0
"""A Gateway may hear that a Service is gone before it hears that the route no longer leads there."""
_SKEW_SECONDS = 60.0


def routes_of(model: Resource, seen: Observed, settings: Settings, traffic: Traffic, now: datetime) -> RoutePlan | None:
    """Return the routes that must exist. None where the platform has no Gateway for models."""
    if settings.routes is None:
        return None
    kinds = tuple(kind for kind in KINDS if kind not in seen.missing)
    problem, pending, again = _judged(model, seen, settings.routes, settings.progress_deadline_seconds, now)
    return RoutePlan(
        backends=_backends(model.name, seen, traffic),
        kinds=kinds,
        rules={kind: _rules(seen.live.get((kind, model.name))) for kind in kinds},
        problem=problem,
        pending=pending,
        again=again,
    )


def hostnames(model: Resource, routes: Routes) -> Mapping[str, str]:
    """Return the hostname of each kind of route. Two kinds with one hostname may not share a listener (Gateway API)."""
    name = f"{model.name}.{model.namespace}"
    return {"HTTPRoute": f"{name}.{routes.domain}", "GRPCRoute": f"{name}.grpc.{routes.domain}"}


def unaccepted(model: Resource, seen: Observed, settings: Settings, now: datetime) -> tuple[str, str]:
    """Return why a Gateway does not accept a route, or else what has not been decided. Both are empty if all accept them."""
    found = routes_of(model, seen, settings, (), now)
    return (found.problem, found.pending) if found else ("", "")


def is_settled(seen: RevisionSeen, now: datetime) -> bool:
    """Return whether the Gateways have had the time to hear of the pods that can answer."""
    since = seen.available_since
    return since is not None and not _left(since, SETTLED_SECONDS, now)


def seconds_to_hear(seen: Observed, now: datetime) -> float:
    """Return after how many seconds the Gateways have had the time to hear where the routes lead now. 0: they have."""
    return max((_left(r.written, HEARD_SECONDS, now) for r in seen.routes.values() if r.written), default=0.0)


def _left(since: datetime, seconds: float, now: datetime) -> float:
    """The rest of so many seconds. None of a time that is far ahead: a clock is wrong, and shall hold nothing up."""
    left = seconds - (now - since).total_seconds()
    return left if 0 < left <= seconds + _SKEW_SECONDS else 0.0


def _backends(name: str, seen: Observed, traffic: Traffic) -> tuple[tuple[str, int], ...]:
    """The Services of revisions that can answer. The model's own where none can: it is the first that will."""
    if not traffic:
        return ()
    (stable, share), *others = traffic
    shares = [(stable, name, share), *((other, names.canary_service(name, other), weight) for other, weight in others)]
    can = [(service, weight) for revision, service, weight in shares if _can_answer(seen, revision)]
    return tuple(can) if others and can else ((name, share),)


def _can_answer(seen: Observed, revision: str) -> bool:
    return revision in seen.revisions and seen.revisions[revision].available > 0


def _rules(live: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], ...]:
    return tuple(live["spec"].get("rules", ())) if live else ()


def _judged(
    model: Resource, seen: Observed, routes: Routes, deadline: int, now: datetime
) -> tuple[str, str, float | None]:
    """The problem of the routes, or what they wait for, and the seconds after which to wait is wrong."""
    pending, again = "", None
    for kind in KINDS:
        if kind in seen.missing:
            return f"the cluster has no kind {kind}: install the CRDs of Gateway API ({_API})", "", None
        route = seen.routes.get(kind)
        if route is None:
            pending = pending or f"{kind} {model.name} is made once a revision serves"
            continue
        for parent in routes.parent_refs:
            said = route.verdicts.get((parent.namespace, parent.name, parent.section_name))
            if said:
                return f"{kind} {model.name} is not accepted by {_named(parent)}: {said}", "", None
            if said == "":
                continue
            left = deadline - (now - route.made).total_seconds() if route.made else deadline
            if left <= 0:
                return f"{kind} {model.name} has no answer of {_named(parent)}: is there such a Gateway?", "", None
            pending = pending or f"{kind} {model.name} waits for {_named(parent)}"
            again = min(left, again or left)
    return "", pending, again


def _named(parent: Parent) -> str:
    section = f", listener {parent.section_name}" if parent.section_name else ""
    return f"Gateway {parent.namespace}/{parent.name}{section}"
