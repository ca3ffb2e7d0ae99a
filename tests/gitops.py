"""What GitOps tools conclude from a model's status: Argo CD's health.lua, kstatus (Flux) and kubectl wait; and what they must.

Unit tests judge whole lives by it, and end-to-end tests what a real cluster went through.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lupa import lua51

GITOPS = Path(__file__).parents[1] / "docs" / "gitops"
UPSTREAM = GITOPS / "argocd" / "resource_customizations" / "onnx-operator.dev" / "OnnxModel"
Model = Mapping[str, Any]


def argo(model: Model) -> tuple[str, str]:
    """Health and message by health.lua, with no more libraries than Argo CD opens for a script of argocd-cm."""
    answer = _run(UPSTREAM / "health.lua", model)
    return answer["status"], answer["message"]


def offered(model: Model) -> dict[str, Any]:
    """Argo CD's actions for a model, by name, as actions/discovery.lua describes them."""
    return _run(UPSTREAM / "actions" / "discovery.lua", model)


def acted(action: str, model: Model) -> dict[str, Any]:
    """The model after one of Argo CD's actions."""
    return _run(UPSTREAM / "actions" / action / "action.lua", model)


def _run(script: Path, model: Model) -> dict[str, Any]:
    lua = sandbox()
    apart = json.loads(json.dumps(model))  # lupa loses parts that are in two places, and the operator shares equal ones
    lua.globals().obj = lua.table_from(apart, recursive=True)
    answer: dict[str, Any] = _plain(lua.execute(script.read_text()))
    return answer


def _plain(value: Any) -> Any:
    """A value of Lua as Argo CD's JSON has it."""
    if lua51.lua_type(value) != "table":
        return value
    keys = list(value)
    if keys == list(range(1, len(keys) + 1)):
        return [_plain(value[key]) for key in keys]
    return {key: _plain(value[key]) for key in keys}


@functools.cache
def sandbox() -> lua51.LuaRuntime:
    """Lua as Argo CD opens it."""
    lua = lua51.LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
    lua.execute(
        """
        getmetatable("").__index = nil
        os = {time = os.time, date = os.date}
        string, io, math, debug, coroutine, python = nil, nil, nil, nil, nil, nil
        """
    )
    return lua


def kstatus(model: Model) -> str:
    """kstatus' generic algorithm, in its own order."""
    metadata, status = model["metadata"], model.get("status") or {}
    if "deletionTimestamp" in metadata:
        return "Terminating"
    if "observedGeneration" in status and status["observedGeneration"] != metadata["generation"]:
        return "InProgress"
    conditions = status.get("conditions", [])
    for condition in conditions:
        if condition["status"] == "True" and condition["type"] in ("Reconciling", "Stalled"):
            return {"Reconciling": "InProgress", "Stalled": "Failed"}[condition["type"]]
    for condition in conditions:
        if condition["type"] == "Ready":
            return "Current" if condition["status"] == "True" else "InProgress"
    return "Current"


def waited(model: Model, kind: str) -> bool:
    """Whether `kubectl wait --for=condition=KIND` returns: never for a condition of an older generation."""
    status = model.get("status") or {}
    for condition in status.get("conditions", []):
        if condition["type"].lower() == kind.lower():
            observed = condition.get("observedGeneration", status.get("observedGeneration"))
            if observed is not None and observed < model["metadata"]["generation"]:
                return False
            return bool(condition["status"].lower() == "true")
    return False


def check_health(model: Model) -> None:
    """health.lua says what the phase says to people, and its message is never empty."""
    health, message = argo(model)
    status = model.get("status") or {}
    assert message
    if "deletionTimestamp" in model["metadata"]:
        expected = "Progressing"
    elif model["spec"].get("suspend"):
        expected = "Suspended"
    elif status.get("observedGeneration") != model["metadata"]["generation"]:
        expected = "Progressing"
    else:
        named = {
            "Ready": "Healthy",
            "Failed": "Degraded",
            "Suspended": "Suspended",
            "TurnedOff": "Suspended",
            "ScaledToZero": "Healthy",
        }
        expected = named.get(status["phase"], "Progressing")
    assert health == expected, status


def check_status(model: Model) -> None:
    """The contract of docs/status.md, for one state."""
    status, generation = model.get("status") or {}, model["metadata"]["generation"]
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    true = {kind for kind, c in conditions.items() if c["status"] == "True"}
    assert not {"Reconciling", "Stalled"} <= true, "kstatus takes the first of the two that it finds"
    assert all(conditions[kind]["status"] == "True" for kind in ("Reconciling", "Stalled") if kind in conditions)
    assert status["observedGeneration"] <= generation
    assert all(c["observedGeneration"] <= generation for c in conditions.values())
    assert all(c["reason"] for c in conditions.values())
    if conditions:
        assert "Ready" in conditions
        assert conditions["Ready"]["observedGeneration"] == status["observedGeneration"]
    else:
        assert status == {"observedGeneration": -1}
    if "deletionTimestamp" in model["metadata"]:
        assert kstatus(model) == "Terminating"
        return
    observed = status["observedGeneration"] == generation
    assert (kstatus(model) == "Current") == waited(model, "Ready") == (observed and "Ready" in true)
    assert (kstatus(model) == "Failed") == waited(model, "Stalled") == (observed and "Stalled" in true)
