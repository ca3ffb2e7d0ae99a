"""Events of stages: each one's start, and its end with its time and verdict. A failure is told by `standing`."""

from onnxmodel_operator.api.status import OnnxModelStatus, StageStatus
from onnxmodel_operator.events.values import ModelEvent, normal
from onnxmodel_operator.times import parse_time
from onnxmodel_runtime.contract.stages import STAGES, Stage
from onnxmodel_runtime.contract.text import plain

STARTED, SUCCEEDED = "StageStarted", "StageSucceeded"


def of_stages(before: OnnxModelStatus, after: OnnxModelStatus) -> list[ModelEvent]:
    """Return the starts and successes of stages. One that ran and ended between two statuses has only its end."""
    known = {(stage.name, stage.digest): stage for stage in before.stages or ()}
    out = []
    for stage in after.stages or ():
        old = known.get((stage.name, stage.digest))
        if stage.state == "Succeeded" and not (old and old.state == "Succeeded"):
            out.append(normal(SUCCEEDED, stage.name, _ended(stage, after)))
        elif _began(stage) and not (old and _began(old) and old.start_time == stage.start_time):
            out.append(normal(STARTED, stage.name, f"{stage.name}: Job {stage.job} has started"))
    return out


def runs_ended(before: OnnxModelStatus, after: OnnxModelStatus) -> list[tuple[str, str, float]]:
    """Return the name, the end and the seconds of the Job of each run of a stage that ended between two statuses."""
    known = {(stage.name, stage.digest, stage.state, stage.completion_time) for stage in before.stages or ()}
    out: list[tuple[str, str, float]] = []
    for stage in after.stages or ():
        began, ended = parse_time(stage.start_time), parse_time(stage.completion_time)
        if stage.state == "Running" or not began or not ended:
            continue
        if (stage.name, stage.digest, stage.state, stage.completion_time) not in known:
            out.append((stage.name, stage.state, max((ended - began).total_seconds(), 0.0)))
    return out


def _began(stage: StageStatus) -> bool:
    """Return whether its Job runs: one that a queue holds back has no time."""
    return stage.state == "Running" and stage.start_time is not None


def _ended(stage: StageStatus, after: OnnxModelStatus) -> str:
    took = f" in {plain(stage.seconds, 3)} s" if stage.seconds is not None else ""
    verdict = _verdict(stage.name, after)
    return f"{stage.name} succeeded{took}" + (f": {verdict}" if verdict else "")


def _verdict(stage: str, after: OnnxModelStatus) -> str:
    """The sentence of the stage's condition, or of the load test the figures."""
    kind = STAGES[Stage(stage)].condition if stage in [*Stage] else ""
    for condition in after.conditions or ():
        if condition.type == kind:
            return condition.message
    served = after.target.served if after.target else None
    if stage == Stage.LOADTEST and served:
        return f"p99 {plain(served.p99_milliseconds, 3)} ms, {plain(served.throughput_per_second, 3)}/s"
    return ""
