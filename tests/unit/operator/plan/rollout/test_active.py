from typing import Any

import pytest

from onnxmodel_operator.plan.rollout.active import active_revision, exists, kept
from onnxmodel_operator.plan.values import Kept
from tests.contexts import deployment, model, observed

BLOCK = {"variant": "fp32", "sha256": "b" * 64, "time": "t"}
ACTIVE = {"active": {**BLOCK, "revision": "old"}}
STAGES = {"stages": [{"name": "validate", "digest": "d", "state": "Running", "job": "j"}]}
HISTORY = {"history": [{**BLOCK, "revision": "older"}]}
OLD = deployment("old")
RECORD: Any = {"kind": "Deployment"}


@pytest.mark.parametrize(
    ("status", "fields", "active"),
    [
        (ACTIVE, {"revisions": (OLD,)}, "old"),
        (ACTIVE, {"records": {"old": RECORD}}, "old"),
        (ACTIVE, {}, None),
        (ACTIVE, {"revisions": (deployment("new"),), "routed": "new"}, "new"),
        ({}, {"revisions": (OLD,), "routed": "old"}, "old"),
        ({}, {"revisions": (OLD,)}, None),
        ({}, {"routed": "old"}, None),
        (STAGES, {"revisions": (OLD,), "routed": "old"}, None),
        ({**STAGES, **HISTORY}, {"revisions": (OLD,), "routed": "old"}, "old"),
    ],
)
def test_which_revision_was_proven_last(status: Any, fields: Any, active: str | None) -> None:
    assert active_revision(observed(status=status, **fields)) == active


@pytest.mark.parametrize(
    ("replicas", "revisions", "expected"),
    [(3, (), 3), (0, (OLD,), 0), (None, (deployment("old", wanted=5),), 5), (None, (), 1)],
)
def test_what_serves_has_the_replicas_of_the_newest_spec(replicas: int | None, revisions: Any, expected: int) -> None:
    seen, resource = observed(records={"old": RECORD}, revisions=revisions), model()
    object.__setattr__(resource, "replicas", replicas)
    assert kept(resource, seen, "old") == Kept(RECORD, expected)
    assert kept(resource, seen, "another") is None


def test_a_revision_exists_while_it_can_be_restored() -> None:
    seen = observed(revisions=(OLD,), records={"older": RECORD})
    assert [exists(seen, name) for name in ("old", "older", "new", None)] == [True, True, False, False]
