"""`onnxmodel rollout`: what a model's rollout does, and orders to it."""

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from onnxmodel_cli.cluster.kubectl import Kubectl, KubectlError, add_model, follow_up
from onnxmodel_cli.command import Command
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.outcome import ExitCode

_NO_OPERATOR = (
    "a rollout needs the operator's package, which is not installed here: run it in a clone after `make setup`, or "
    "annotate the OnnxModel with kubectl"
)
_DONE = {
    "promote": "the current step ends",
    "abort": "all traffic goes back to the active revision",
    "retry": "the refused revision is rolled out again",
    "pause": "the rollout is held at its step",
    "resume": "the rollout goes on",
}


def _arguments(parser: Parser) -> None:
    parser.add_argument("action", choices=["status", *_DONE], help="show the rollout, or what to do with it")
    add_model(parser)


def _run(options: argparse.Namespace) -> int:
    try:
        import onnxmodel_operator  # noqa: F401
    except ModuleNotFoundError:
        options.parser.error(_NO_OPERATOR)
    kubectl = Kubectl(options)
    try:
        model = kubectl.model(options.model)
        if options.action == "status":
            print(_told(model))
        else:
            if idle := _idle(options.action, model):
                print(f"{options.model}: {idle}")
                return ExitCode.REFUSED
            kubectl.run("annotate", "--overwrite", "onnxmodel", options.model, _annotation(options.action))
            follow = follow_up(options, "rollout", "status", options.model)
            print(f"{options.model}: {_done(options.action, model)}; `{follow}` shows it")
    except KubectlError as error:
        print(error)
        return error.code
    return ExitCode.OK


def _done(action: str, model: Mapping[str, Any]) -> str:
    """The effect of an order that was given. A pause waits for a canary that has not begun, and holds nothing else."""
    rollout = (model.get("status") or {}).get("rollout") or {}
    if action not in ("pause", "resume") or _is_at_a_step(rollout):
        return _DONE[action]
    now = (
        "all steps of the canary are done"
        if "step" in rollout
        else f"the rollout of {rollout['revision']} has the strategy {rollout['strategy']}, which has no steps to hold"
        if "revision" in rollout
        else "no revision is rolling out"
    )
    return f"{now}; the next canary {'is held at its first step' if action == 'pause' else 'is not held'}"


def _idle(action: str, model: Mapping[str, Any]) -> str:
    """The reason why an order would do nothing. "" if it would do something."""
    rollout = (model.get("status") or {}).get("rollout") or {}
    if action == "retry":
        return "" if rollout.get("refused") else "no revision is refused, so there is nothing to retry"
    if action == "resume":
        return "" if _is_paused(model) else "it is not paused, so there is nothing to resume"
    if action == "promote" and not _is_at_a_step(rollout):
        return "no canary is at a step, so there is nothing to promote"
    if action == "abort" and not {"revision", "since"} & rollout.keys():
        return "no revision is rolling out: while its stages run, set spec.suspend or apply another spec instead"
    return ""


def _is_at_a_step(rollout: Mapping[str, Any]) -> bool:
    """A canary that is through its steps has the number of one more."""
    return {"revision", "step"} <= rollout.keys() and rollout["step"] <= rollout.get("steps", rollout["step"])


def _is_paused(model: Mapping[str, Any]) -> bool:
    from onnxmodel_operator import names

    return (model["metadata"].get("annotations") or {}).get(names.PAUSE) == "true"


def _annotation(action: str) -> str:
    """The change of annotations that is the order. Each order has a value of its own, by which it is followed once."""
    from onnxmodel_operator import names

    if action in ("pause", "resume"):
        return f"{names.PAUSE}=true" if action == "pause" else f"{names.PAUSE}-"
    order = {"promote": names.PROMOTE, "abort": names.ABORT, "retry": names.RETRY}[action]
    return f"{order}={datetime.now(UTC).isoformat(timespec='milliseconds')}"


def _told(model: Mapping[str, Any]) -> str:
    """The rollout of a model in a few lines."""
    from onnxmodel_operator import names

    status = model.get("status") or {}
    rollout, serving = status.get("rollout") or {}, status.get("serving") or {}
    lines = [f"{status.get('phase', 'Pending')}: {status.get('message', 'not observed yet')}"]
    lines += [f"serving: {serving['revision']}, {serving['ready']} replicas ready"] if serving else []
    if "revision" in rollout:
        lines.append(f"rolling out: {rollout['revision']}, {rollout['strategy']} ({rollout['why']})")
    if "step" in rollout:
        since = f", since {rollout['since']}" if "since" in rollout else ""
        lines.append(f"step: {rollout['step']} of {rollout['steps']}, weight {rollout['weight']} %{since}")
    lines += [f"gate: {rollout['gate']}"] if "gate" in rollout else []
    for share in status.get("traffic") or ():
        measured = f", measured {share['measured']} %" if "measured" in share else ""
        lines.append(f"traffic: {share['revision']} wanted {share['wanted']} %, ready {share['ready']} %{measured}")
    for refused in rollout.get("refused") or ():
        lines.append(f"refused: {refused['revision']}, {refused['reason']} at {refused['time']}: {refused['message']}")
    if _is_paused(model):
        lines.append(f"paused: annotation {names.PAUSE}")
    return "\n".join(lines)


COMMAND = Command(
    "rollout",
    "show a model's rollout in a cluster, promote, abort, retry, pause or resume it",
    _arguments,
    _run,
    formats=(),
    description="Show the rollout of an OnnxModel in a cluster, or give it an order. Uses kubectl.",
)
