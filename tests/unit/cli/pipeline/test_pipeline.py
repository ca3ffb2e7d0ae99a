"""The loop of a run adds what the operator's plan misses, and never decides by the words of its progress."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onnxmodel_cli.pipeline import pipeline as module
from onnxmodel_cli.pipeline.pipeline import Pipeline
from onnxmodel_operator.observe import RevisionSeen
from onnxmodel_operator.plan import plan
from onnxmodel_operator.plan.values import Plan, Revision, State, Step
from onnxmodel_runtime.contract.outcome import Outcome
from onnxmodel_runtime.contract.stages import Stage
from tests import contexts

STAGES = list(Stage)[: list(Stage).index(Stage.BENCHMARK) + 1]
SERVED = [*STAGES, "serve", "loadtest", "probe"]


class Played(Pipeline):
    """A pipeline whose containers succeed at once. Everything that decides is real."""

    def __init__(self, folder: Path, **spec: Any) -> None:
        super().__init__(contexts.model(**spec), contexts.platform(), folder, {})
        self.done: list[str] = []

    def _containers(self, step: Step) -> tuple[int, str, Outcome]:
        self.done.append(step.stage)
        return 0, step.stage, Outcome(step.stage, 1.0, contexts.good(step))

    def _serve(self, revision: Revision) -> None:
        self.done.append("serve")
        seen = contexts.deployment(revision.short, wanted=revision.replicas)
        self._revisions[revision.short] = replace(seen, name=revision.name)


def _reworded(phase: str | None, reason: str | None) -> Callable[..., Plan]:
    turns = iter(range(50))

    def other(*given: Any) -> Plan:
        assert next(turns, None) is not None, "it spins"
        decided = plan(*given)
        if decided.progress.state is State.RECONCILING:
            words = {name: word for name, word in (("phase", phase), ("reason", reason)) if word}
            decided = replace(decided, progress=replace(decided.progress, **words))
        return decided

    return other


@pytest.mark.parametrize("phase", [None, "Deploying", "Elsewhere"])
@pytest.mark.parametrize("reason", [None, "Switching", "Elsewhere"])
def test_it_ends_ready_whatever_the_words(
    phase: str | None, reason: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "plan", _reworded(phase, reason))
    played = Played(tmp_path)
    assert played.run(Stage.PROBE).progress.state is State.READY
    assert played.done == SERVED


def test_it_ends_where_a_rollout_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "plan", _reworded(None, "Switching"))
    played = Played(tmp_path)
    seen: RevisionSeen = contexts.deployment("r", available=0)
    monkeypatch.setattr(contexts, "deployment", lambda revision, wanted: replace(seen, revision=revision))
    assert played.run(Stage.PROBE).progress.state is State.RECONCILING
    assert played.done == [*STAGES, "serve"]


def test_it_serves_nothing_where_no_replicas_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "plan", _reworded(None, None))
    played = Played(tmp_path, serving={"replicas": 0})
    assert played.run(Stage.PROBE).progress.state is State.OFF
    assert played.done == STAGES


@pytest.mark.parametrize("until", ["validate", "benchmark", "loadtest"])
def test_it_ends_after_the_stage_that_was_asked_for(
    until: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "plan", _reworded(None, "Switching"))
    played = Played(tmp_path)
    assert played.run(Stage(until)).progress.state is State.SUSPENDED
    assert played.done == SERVED[: SERVED.index(until) + 1]
