"""What the cache keeps of what it is told."""

import pytest

from onnxmodel_operator.cluster.cache import Cache
from onnxmodel_operator.cluster.kinds import JOB, MODEL
from tests.builders import item


def test_children_are_found_by_their_model_and_without_noise():
    cache = Cache()
    assert cache.put(MODEL, item("m")) == ("n", "m")
    assert cache.put(JOB, item("m-validate-1")) == ("n", "m")
    cache.put(JOB, item("other-validate-1", model="other"))
    snapshot = cache.snapshot(("n", "m"))
    assert snapshot.model["metadata"]["name"] == "m"
    assert [job["metadata"]["name"] for job in snapshot.jobs] == ["m-validate-1"]
    assert "managedFields" not in snapshot.jobs[0]["metadata"]


def test_an_older_state_does_not_replace_a_newer_one():
    cache = Cache()
    cache.put(JOB, item("j", version=10))
    assert cache.put(JOB, item("j", version=9)) is None
    assert cache.put(JOB, item("j", version=10)) is None
    assert cache.snapshot(("n", "m")).jobs[0]["metadata"]["resourceVersion"] == "10"


def test_a_new_version_without_a_change_is_no_news_and_is_known():
    cache = Cache()
    cache.put(JOB, item("j", version=10))
    assert cache.put(JOB, {**item("j", version=11), "status": {"active": 1}}) == ("n", "m")
    again = {**item("j", version=12), "status": {"active": 1}}
    again["metadata"]["managedFields"] = [{"manager": "another"}]
    assert cache.put(JOB, again) is None
    assert cache.snapshot(("n", "m")).jobs[0]["metadata"]["resourceVersion"] == "12", "for the next deletion"
    assert cache.put(JOB, {**item("j", version=13, uid="another"), "status": {"active": 1}}) == ("n", "m")
    cache.drop(JOB, item("j", version=14))
    assert len(cache.snapshot(("n", "m")).jobs) == 1


def test_a_late_event_brings_nothing_back_and_a_newer_state_does():
    cache = Cache()
    cache.put(JOB, item("j", version=5))
    cache.drop(JOB, item("j", version=5))
    assert cache.put(JOB, item("j", version=4)) is None
    assert cache.put(JOB, item("j", version=5)) is None
    assert cache.keys() == []
    assert cache.put(JOB, item("j", version=6)) == ("n", "m"), "a watch calls deleted what has lost our label, too"
    assert cache.put(JOB, {**item("j", version=7), "status": {}}) == ("n", "m")


@pytest.mark.parametrize("model", ["", "other"])
def test_an_object_that_loses_its_label_is_lost_to_its_model(model):
    cache = Cache()
    cache.put(JOB, item("j", version=5))
    assert cache.put(JOB, item("j", version=4, model=model)) is None
    assert cache.put(JOB, item("j", version=6, model=model)) == ("n", "m"), "who puts that right"
    assert cache.keys() == ([("n", "other")] if model else [])
    assert cache.put(JOB, item("j", version=7))
    assert cache.keys() == [("n", "m")]


def test_a_late_deletion_does_not_remove_a_new_object_of_the_name():
    cache = Cache()
    cache.put(JOB, item("j", version=10, uid="new"))
    cache.drop(JOB, item("j", version=5, uid="old"))
    assert len(cache.snapshot(("n", "m")).jobs) == 1
    cache.drop(JOB, item("j", version=11, uid="new"))
    assert cache.keys() == []
