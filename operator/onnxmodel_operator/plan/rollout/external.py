"""Judge a new revision by a number that the platform's Prometheus gives."""

import re
from collections.abc import Mapping

from onnxmodel_operator.api.spec.rollout import PLACEHOLDER, PrometheusGate
from onnxmodel_operator.live.query import QueryResult
from onnxmodel_operator.plan.rollout.gates import Judgement, Ruling
from onnxmodel_runtime.contract.text import plain

LEAST_SECONDS = 10
"""Time after which a step is asked about: a number of its first moment would tell of the step before."""
_FIELD = "rollout.gates.prometheus"


def filled(query: str, values: Mapping[str, str]) -> str:
    """Return the query with these values in the place of $namespace and the others."""
    return re.sub(PLACEHOLDER, lambda found: values.get(found[1], found[0]), query)


def judge(gate: PrometheusGate, answer: QueryResult | None) -> Judgement:
    """Judge by the answer. What is no number, or has not been asked yet, decides nothing."""
    if answer is None:
        return Judgement(Ruling.INCONCLUSIVE, f"the query of {_FIELD} has not been answered yet")
    if answer.value is None:
        return Judgement(Ruling.INCONCLUSIVE, f"{_FIELD}: {answer.why}")
    said = f"the query of {_FIELD} gives {plain(answer.value)}"
    if gate.max is not None and answer.value > gate.max:
        return Judgement(Ruling.FAIL, f"{said}: max is {plain(gate.max)}")
    if gate.min is not None and answer.value < gate.min:
        return Judgement(Ruling.FAIL, f"{said}: min is {plain(gate.min)}")
    return Judgement(Ruling.PASS, said)
