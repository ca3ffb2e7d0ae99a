"""The pipeline of a model: each stage once, in its order, with the run that counts for the present spec."""

from collections.abc import Iterator
from dataclasses import dataclass

from onnxmodel_operator.api.status import StageStatus
from onnxmodel_page.view.seen import Health, Seen
from onnxmodel_runtime.contract.stages import STAGES

SERVE = "serve"
"""The last step, which is no stage: the revision has all of the traffic."""


@dataclass(frozen=True, slots=True)
class Link:
    """One step of the pipeline.

    state: Done, Running, Failed or Waiting. began and ended: of its Job, "" where unknown. seconds: of the stage itself,
    None until it ends. earlier: it waits, and the times are of a run for an earlier spec.
    """

    name: str
    state: str
    began: str = ""
    ended: str = ""
    seconds: float | None = None
    job: str = ""
    message: str = ""
    earlier: bool = False


def pipeline(seen: Seen) -> tuple[Link, ...]:
    """Return the steps in their order."""
    return tuple(_links(seen))


def _links(seen: Seen) -> Iterator[Link]:
    records: dict[str, StageStatus] = {}
    for each in seen.status.stages or ():
        records.setdefault(each.name, each)  # the present chain comes first, then earlier successes
    open_since, still = "", False
    for stage, spec in STAGES.items():
        record = records.get(stage)
        stopped = record is None or (still and (record.start_time or "") < open_since) or (still and not open_since)
        if record is None:
            yield Link(stage, "Waiting")
        elif stopped:
            yield _link(record, "Waiting", earlier=True)
        else:
            yield _link(record, _STATES[record.state], _told(seen, spec.condition))
        if not still and (record is None or record.state != "Succeeded"):
            still, open_since = True, (record.start_time or "") if record else ""
    yield Link(SERVE, _last(seen, still), message=_told(seen, "Available"))


_STATES = {"Running": "Running", "Succeeded": "Done", "Failed": "Failed"}


def _link(record: StageStatus, state: str, message: str = "", *, earlier: bool = False) -> Link:
    return Link(
        record.name,
        state,
        record.start_time or "",
        record.completion_time or "",
        record.seconds,
        record.job,
        message,
        earlier,
    )


def _told(seen: Seen, condition: str) -> str:
    found = seen.condition(condition) if condition else None
    return found.message if found else ""


def _last(seen: Seen, still: bool) -> str:
    if seen.health in (Health.READY, Health.DEGRADED):
        return "Done"
    if still or seen.health is Health.SUSPENDED:
        return "Waiting"
    return "Failed" if seen.health is Health.STALLED else "Running"
