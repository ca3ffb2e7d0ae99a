"""status.stages: which records of stages are kept."""

from dataclasses import dataclass

import pytest

from onnxmodel_operator.api.status import MOST_STAGES, OnnxModelStatus
from onnxmodel_operator.observe.memory import read
from onnxmodel_operator.plan.values import Plan, Progress, State, Step
from onnxmodel_operator.status.records import stage_statuses
from onnxmodel_runtime.contract.outcome import Outcome
from onnxmodel_runtime.contract.stages import STAGES, Stage
from tests.builders import SETTINGS

PROGRESS = Progress(State.RECONCILING, "Pending", "Pending", "")


@dataclass
class Request:
    directory: str = ""


def step(stage, digest, *, done=True):
    outcome = Outcome(stage, 1.0) if done else None
    return Step(
        stage, digest, f"job-{digest}", Request(), SETTINGS.defaults, outcome=outcome, record=digest if done else None
    )


def live(*chains):
    """The records after each of these chains of steps was the plan's, one stage at a time."""
    status = {}
    for chain in chains:
        for length in range(1, len(chain) + 1):
            stages = stage_statuses(Plan(PROGRESS, steps=tuple(chain[:length])), read(status))
            status = OnnxModelStatus(stages=stages).dump()
    return [(item["name"], item["digest"]) for item in status["stages"]]


def chain(number, stages=tuple(Stage)):
    return [step(stage, f"{stage}-{number}") for stage in stages]


def names(steps):
    return [(item.stage, item.digest) for item in steps]


def test_of_each_stage_three_successes_are_kept_the_newest_first():
    chains = [chain(number, tuple(Stage)[:5]) for number in range(5)]  # of more, fewer: status has room for 16
    assert live(*chains) == names([*chains[4], *chains[3], *chains[2]])


def test_a_chain_that_comes_back_is_there_once():
    first, second = chain(1), chain(2)
    assert live(first, second, first) == names([*first, *second])


def test_only_successes_are_remembered_of_earlier_specs():
    running = [step(Stage.VALIDATE, "running", done=False)]
    assert live(running, chain(1)) == names(chain(1))


@pytest.mark.parametrize("count", [5, 6, 7, 8, 15, MOST_STAGES])
def test_however_many_stages_there_are_status_holds_the_newest_records(count, monkeypatch):
    stages = tuple(f"stage{number}" for number in range(count))
    for stage in stages:
        monkeypatch.setitem(STAGES, stage, STAGES[Stage.VALIDATE])
    chains = [chain(number, stages) for number in range(5)]
    kept = live(*chains)
    assert kept[:count] == names(chains[4]), "the chain itself is whole"
    assert kept == names([*chains[4], *chains[3], *chains[2]])[:MOST_STAGES], "what was needed longest ago goes first"


def test_a_whole_chain_fits():
    assert len(Stage) <= MOST_STAGES
