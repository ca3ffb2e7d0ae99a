"""What differs between what is desired and what is there."""

import pytest

from onnxmodel_operator import names, quantity
from onnxmodel_operator.drift import applicable, difference, needs_apply


@pytest.mark.parametrize("live", [{"b": 1}, ["500m"], True, None, "501m"], ids=str)
def test_what_is_no_equal_quantity_differs(live):
    assert difference({"cpu": "500m"}, {"cpu": live}) == "cpu"


def test_an_equal_quantity_in_other_words_is_the_same():
    assert difference({"cpu": "1000m"}, {"cpu": "1"}) == difference({"cpu": "1000m"}, {"cpu": 1}) == ""


def test_a_boolean_is_no_quantity_though_python_calls_it_equal_to_one():
    assert quantity.parse(1) == 1
    with pytest.raises(ValueError, match="True is not a quantity"):
        quantity.parse(True)


def _job(**labels):
    annotations = {names.ANNOTATION_APPLIED: "1"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j", "labels": labels, "annotations": annotations},
    }


OURS, QUEUE = {names.LABEL_MODEL: "m"}, "kueue.x-k8s.io/queue-name"


def test_the_label_of_a_queue_is_not_changed_on_a_job_that_is_there():
    """Kueue refuses that of a Job that it has admitted."""
    desired, live = _job(**OURS, **{QUEUE: "new"}), _job(**OURS, **{QUEUE: "old"})
    assert not needs_apply(desired, live)
    lost = _job(**{QUEUE: "old"})
    assert needs_apply(desired, lost)
    assert applicable(desired, lost)["metadata"]["labels"] == {**OURS, QUEUE: "old"}
    assert applicable(desired, _job())["metadata"]["labels"] == OURS
    assert applicable(desired, None)["metadata"]["labels"] == {**OURS, QUEUE: "new"}
