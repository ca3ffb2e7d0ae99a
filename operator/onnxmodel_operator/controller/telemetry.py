"""Telemetry of each model, in memory alone: rounds fill it in, turns read it and say what to look for."""

from dataclasses import replace
from typing import TypeVar

from onnxmodel_operator.cluster.cache import Key
from onnxmodel_operator.live.query import QueryResult, Question
from onnxmodel_operator.live.windows import Live
from onnxmodel_operator.observe import Snapshot
from onnxmodel_operator.plan.values import Comparison, Pace, Plan

_T = TypeVar("_T")
_NOTHING = Live()


class Telemetry:
    """The readings of servers, the answers of Prometheus, and the conclusions of each model's last turn."""

    def __init__(self) -> None:
        self.readings: dict[Key, Live] = {}
        """Of each model's servers."""
        self.answers: dict[Key, tuple[Question, QueryResult]] = {}
        """The last one to the question of each model that has one."""
        self.paces: dict[Key, Pace] = {}
        """The speed that is expected of each model, and the one that was concluded."""
        self.comparisons: dict[Key, Comparison] = {}
        """Orders to the servers of models that compare answers."""
        self.questions: dict[Key, Question] = {}
        """For Prometheus, of the models that wait for an answer."""

    def of(self, key: Key) -> Live:
        """Return the readings of a model's servers."""
        return self.readings.get(key, _NOTHING)

    def proofs(self) -> dict[Key, tuple[float, float]]:
        """Return what load tests measured of the models that serve: seconds of a request, and rows per second."""
        found = {key: pace.proven for key, pace in self.paces.items()}
        return {key: (proven.milliseconds / 1000, proven.rows_per_second) for key, proven in found.items()}

    def add_to(self, snapshot: Snapshot, key: Key) -> Snapshot:
        """Return the snapshot with what is known of the model's traffic."""
        return replace(snapshot, metrics=self.of(key), answered=self.answers.get(key))

    def conclude(self, key: Key, plan: Plan) -> None:
        """Remember what the rounds shall look for from now on."""
        _remember(self.paces, key, plan.pace)
        _remember(self.comparisons, key, plan.comparison)
        _remember(self.questions, key, plan.question)

    def forget(self, key: Key) -> None:
        """Look for nothing any more: the model is gone. Its readings and answers go with the next rounds."""
        for known in (self.paces, self.comparisons, self.questions):
            known.pop(key, None)


def _remember(known: dict[Key, _T], key: Key, value: _T | None) -> None:
    if value is None:
        known.pop(key, None)
    else:
        known[key] = value
