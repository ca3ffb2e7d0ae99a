"""The control plane's benchmark: copies of a life are at rest as the life itself is."""

import asyncio

from benchmarks.controlplane.replay import copies, template
from onnxmodel_operator.cluster.kinds import ALL
from tests.builders import SETTINGS, Cluster, body


def test_a_copy_is_at_rest_and_shares_no_uid_and_no_child_with_its_original():
    life = Cluster(body(serving={"replicas": 2}))  # with a budget for disruptions
    life.live()
    objects = list(life.objects.values())
    made = asyncio.run(template(objects, SETTINGS, life.now))
    both = Cluster()
    both.now = life.now
    for item in [*objects, *copies(made, "team-b", "other")]:
        both._store(item)
    assert len({item["metadata"]["uid"] for item in both.objects.values()}) == 2 * len(objects)
    assert {kind for kind, *_ in both.objects} == {kind.name for kind in ALL}, "add-ons are not there"
    both.step()
    both.step("other", namespace="team-b")
    assert both.writes == []
