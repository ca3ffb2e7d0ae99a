"""Tell the story of a model: how it stands, its stages with their times, what failed with its fix, and its Events. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onnxmodel_runtime.contract.stages import STAGES, Stage
from onnxmodel_runtime.contract.text import plain

Paint = Callable[[str, str], str]
"""Takes a color and a text, and returns the text as a terminal shows it."""
_EVENTS = 20
_COLORS = {
    "Ready": "green",
    "Succeeded": "green",
    "Failed": "red",
    "Stalled": "red",
    "Warning": "yellow",
    "error": "red",
    "warning": "yellow",
}


def story(model: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the story as plain data. model and events: as the API server has them."""
    status = model.get("status") or {}
    told = {
        "name": model["metadata"]["name"],
        "namespace": model["metadata"]["namespace"],
        "observed": status.get("observedGeneration") == model["metadata"].get("generation"),
        "phase": status.get("phase", "Pending"),
        "state": _state(status),
        "reason": status.get("reason", "NotObserved"),
        "message": status.get("message", "the operator has not looked at it yet"),
        "failure": status.get("lastFailure"),
        "findings": [found for found in status.get("findings") or () if found["severity"] != "info"],
        "serving": status.get("serving"),
        "rollout": {key: value for key, value in (status.get("rollout") or {}).items() if key != "handled"},
        "stages": _stages(status),
        "events": [_event(event) for event in sorted(events, key=_time)][-_EVENTS:],
    }
    return {key: value for key, value in told.items() if value not in (None, [], {})}


def text(told: Mapping[str, Any], paint: Paint) -> str:
    """Return the story in lines for a person."""
    state, where = told["state"], f"{told['name']} in {told['namespace']}"
    lines = [f"{where}: {paint(_COLORS.get(state, ''), state)} ({told['phase']}): {told['message']}"]
    if not told["observed"]:
        lines.append("  the operator has not seen the newest spec yet: what follows is about an older one")
    lines += _failure(told.get("failure"), paint)
    for found in told.get("findings", ()):
        severity = paint(_COLORS.get(found["severity"], ""), found["severity"])
        lines += [f"  {severity} {found['id']} {found['target']}: {found['message']}", f"    fix: {found['fix']}"]
    lines += ["", *_table(told["stages"], paint)]
    if serving := told.get("serving"):
        lines += ["", f"serving: {_serving(serving)}", f"  {serving['url']}"]
    lines += _rollout(told.get("rollout") or {})
    if events := told.get("events"):
        lines += ["", "events, newest last:", *(_line(event, paint) for event in events)]
    return "\n".join(lines)


def _state(status: Mapping[str, Any]) -> str:
    """Ready, Stalled or Reconciling, or the phase of a model at rest."""
    true = {each["type"] for each in status.get("conditions") or () if each["status"] == "True"}
    return next((kind for kind in ("Stalled", "Reconciling", "Ready") if kind in true), status.get("phase", "Pending"))


def _stages(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each stage of the newest spec, in order, also those that have not begun."""
    said = {each["type"]: each for each in status.get("conditions") or ()}
    newest: dict[str, Mapping[str, Any]] = {}
    for record in status.get("stages") or ():
        newest.setdefault(record["name"], record)
    out = []
    for stage, row in STAGES.items():
        record, condition = newest.get(stage, {}), said.get(row.condition, {})
        out.append(
            {
                "name": str(stage),
                "state": record.get("state", "Pending"),
                "seconds": record.get("seconds"),
                "job": record.get("job"),
                "startTime": record.get("startTime"),
                "completionTime": record.get("completionTime"),
                "verdict": _verdict(stage, record, condition, status),
            }
        )
    return [{key: value for key, value in stage.items() if value is not None} for stage in out]


def _verdict(stage: Stage, record: Mapping[str, Any], condition: Mapping[str, Any], status: Mapping[str, Any]) -> Any:
    failure = status.get("lastFailure") or {}
    if record.get("state") != "Succeeded":
        return failure.get("message") if failure.get("stage") == stage else None
    if stage is Stage.LOADTEST and (served := (status.get("target") or {}).get("served")):
        return f"p99 {plain(served['p99Milliseconds'], 3)} ms, {plain(served['throughputPerSecond'], 3)}/s"
    return condition.get("message")


def _table(stages: Sequence[Mapping[str, Any]], paint: Paint) -> list[str]:
    rows = [("STAGE", "STATE", "SECONDS", "ENDED", "VERDICT")]
    for each in stages:
        seconds = plain(each["seconds"], 3) if "seconds" in each else ""
        ended = each.get("completionTime") or (f"since {each['startTime']}" if "startTime" in each else "")
        rows.append((each["name"], each["state"], seconds, ended, each.get("verdict") or ""))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    out = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        cells[1] = paint(_COLORS.get(row[1], ""), cells[1])
        out.append("  ".join([*cells, row[4]]).rstrip())
    return out


def _failure(failure: Mapping[str, Any] | None, paint: Paint) -> list[str]:
    if not failure:
        return []
    field = f" ({failure['field']})" if failure.get("field") else ""
    attempts = f", attempt {failure['attempts']}" if failure.get("attempts") else ""
    what = f"{failure['stage']}: {failure['reason']}{field}{attempts}: {failure['message']}"
    return [f"  {paint('red', 'failed')} {what}", f"    fix: {failure['hint']}"]


def _serving(serving: Mapping[str, Any]) -> str:
    runs = " on ".join(str(serving[key]) for key in ("variant", "provider") if serving.get(key))
    facts = [f"revision {serving['revision']}", f"{serving['ready']} replicas", serving["runtime"], runs]
    facts += [f"p99 {serving['p99']}" if serving.get("p99") else "", serving.get("throughput") or ""]
    return ", ".join(fact for fact in facts if fact)


def _rollout(rollout: Mapping[str, Any]) -> list[str]:
    out = []
    if "revision" in rollout:
        step = (
            f", step {rollout['step']} of {rollout['steps']}, weight {rollout['weight']} %" if "step" in rollout else ""
        )
        out.append(f"rolling out: revision {rollout['revision']}, {rollout['strategy']}{step}")
        out += [f"  gate: {rollout['gate']}"] if rollout.get("gate") else []
    for refused in rollout.get("refused") or ():
        out.append(f"refused: revision {refused['revision']}, {refused['reason']}: {refused['message']}")
    return out


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    count = (event.get("series") or {}).get("count") or event.get("count") or 1
    return {
        "time": _time(event),
        "type": event.get("type") or "Normal",
        "reason": event.get("reason") or "",
        "message": event.get("message") or event.get("note") or "",
        "count": count,
    }


def _time(event: Mapping[str, Any]) -> str:
    """Return when an Event was last seen, to the second."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    found = next((time for time in times if time), None) or event["metadata"].get("creationTimestamp") or ""
    return found[:19] + "Z" if found else ""


def _line(event: Mapping[str, Any], paint: Paint) -> str:
    times = f" (x{event['count']})" if event["count"] > 1 else ""
    kind = paint(_COLORS.get(event["type"], ""), event["type"])
    return f"  {event['time']} {kind} {event['reason']}{times}: {event['message']}"
