"""A number of Prometheus as a gate."""

import pytest

from onnxmodel_operator.api.spec.rollout import PLACEHOLDERS, PrometheusGate
from onnxmodel_operator.live.query import QueryResult
from onnxmodel_operator.plan.rollout.external import filled, judge
from onnxmodel_operator.plan.rollout.gates import Ruling

VALUES = {name: f"<{name}>" for name in PLACEHOLDERS}


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ('a{ns="$namespace",m="$model"}[$window]', 'a{ns="<namespace>",m="<model>"}[<window>]'),
        ("$revision/$stable", "<revision>/<stable>"),
        ('a{b=~"x$"} / b', 'a{b=~"x$"} / b'),  # the end of a regular expression
    ],
)
def test_names_are_replaced(query, asked):
    assert filled(query, VALUES) == asked


@pytest.mark.parametrize(
    ("limits", "answer", "ruling", "sentence"),
    [
        ({"max": 0.1}, QueryResult(0.1), Ruling.PASS, "the query of rollout.gates.prometheus gives 0.1"),
        ({"max": 0.1}, QueryResult(0.2), Ruling.FAIL, "the query of rollout.gates.prometheus gives 0.2: max is 0.1"),
        ({"min": 5.0}, QueryResult(4.0), Ruling.FAIL, "the query of rollout.gates.prometheus gives 4: min is 5"),
        ({"min": 5.0, "max": 9.0}, QueryResult(7.0), Ruling.PASS, "the query of rollout.gates.prometheus gives 7"),
        ({"max": 0.1}, QueryResult(None, "the query gives no sample"), Ruling.INCONCLUSIVE,
         "rollout.gates.prometheus: the query gives no sample"),
        ({"max": 0.1}, None, Ruling.INCONCLUSIVE, "the query of rollout.gates.prometheus has not been answered yet"),
    ],
)  # fmt: skip
def test_a_ruling_and_its_sentence(limits, answer, ruling, sentence):
    found = judge(PrometheusGate(query="1", **limits), answer)
    assert (found.ruling, found.sentence) == (ruling, sentence)


@pytest.mark.parametrize("query", ["a{b='$revison'}", "rate(a[$__rate_interval])", "${revision}"])
def test_a_name_that_would_not_be_replaced_is_refused(query):
    with pytest.raises(ValueError, match=r"is not replaced: use \$namespace, \$model, \$revision, \$stable, \$window"):
        PrometheusGate(query=query, max=1)


def test_limits_leave_room():
    with pytest.raises(ValueError, match="no number would be within them"):
        PrometheusGate(query="1", min=9, max=1)


def test_a_query_has_a_limit():
    with pytest.raises(ValueError, match="needs a max or a min"):
        PrometheusGate(query="1")
