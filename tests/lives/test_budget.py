"""A model with two or more replicas has a PodDisruptionBudget, for the pods that take traffic."""

from onnxmodel_operator import names
from tests.builders import Cluster, body

KEY = ("PodDisruptionBudget", "team-a", "magika-servers")


def protects(cluster):
    """The revisions whose pods it selects."""
    (of,) = cluster.objects[KEY]["spec"]["selector"]["matchExpressions"]
    assert (of["key"], of["operator"]) == (names.LABEL_REVISION, "In")
    return of["values"]


def test_it_is_there_with_the_traffic_and_follows_it():
    cluster = Cluster(body(serving={"replicas": 2}))
    cluster.reach("loadtest")
    assert KEY not in cluster.objects, "nothing takes traffic yet"
    cluster.live()
    first = cluster.routed()
    assert protects(cluster) == [first]
    spec = cluster.objects[KEY]["spec"]
    assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    assert spec["selector"]["matchLabels"] == {names.LABEL_MODEL: "magika"}
    cluster.edit(serving={"replicas": 2, "batching": {"maxBatchSize": 64}})
    cluster.settle()
    assert protects(cluster) == [first], "the new revision has yet to be proven"
    cluster.live()
    assert protects(cluster) == [cluster.routed()] != [first]


def test_it_comes_and_goes_with_the_second_replica():
    cluster = Cluster(body())
    cluster.live()
    assert KEY not in cluster.objects
    cluster.edit(serving={"replicas": 2})
    cluster.settle()
    assert protects(cluster) == [cluster.routed()]
    for replicas in (1, 0):
        cluster.edit(serving={"replicas": 3})
        cluster.settle()
        assert KEY in cluster.objects
        cluster.edit(serving={"replicas": replicas})
        cluster.settle()
        assert KEY not in cluster.objects


def test_a_budget_that_somebody_changed_or_deleted_comes_back():
    cluster = Cluster(body(serving={"replicas": 2}))
    cluster.live()
    made = cluster.objects[KEY]
    cluster._store({**made, "spec": {**made["spec"], "maxUnavailable": 2}})
    assert [write for write in cluster.settle() if write[1] == KEY[0]] == [("apply", *KEY[::2])]
    del cluster.objects[KEY]
    assert ("apply", *KEY[::2]) in cluster.settle()
    assert cluster.objects[KEY]["spec"] == made["spec"]


def test_a_spec_that_cannot_be_read_keeps_what_protects_the_server():
    cluster = Cluster(body(serving={"replicas": 2}))
    cluster.live()
    cluster.edit(serving={"replicas": 2, "nodePool": "nowhere"})
    cluster.settle()
    assert protects(cluster) == [cluster.routed()]
