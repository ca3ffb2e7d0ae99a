from dataclasses import replace
from typing import Any

import pytest

from dev.results import benchmarked
from onnxmodel_operator.plan.rollout import revision
from onnxmodel_operator.plan.values import Advance, State
from onnxmodel_runtime.contract.stages import Stage
from tests.contexts import advanced, at, context, stopped


@pytest.mark.parametrize(
    ("serving", "field", "expected"),
    [
        ({}, "max_queue_size", 512),
        ({"runtime": "triton"}, "max_queue_size", 0),
        ({"batching": {"maxQueueSize": 5}}, "max_queue_size", 5),
        ({"runtime": "triton", "batching": {"maxQueueSize": 5}}, "max_queue_size", 5),
        ({}, "engine_cache", ""),
        ({"nodePool": "a100"}, "engine_cache", "/tmp/engines"),
        ({"nodePool": "a100", "runtime": "triton"}, "engine_cache", ""),
        (
            {"batching": {"preferredBatchSizes": [8, 4, 8], "maxQueueDelayMicroseconds": 1}},
            "preferred_batch_sizes",
            (4, 8),
        ),
        ({"instances": 3}, "instances", 3),
        ({}, "sha256", "b" * 64),
    ],
)
def test_what_the_server_is_asked_for(serving: dict[str, Any], field: str, expected: Any) -> None:
    assert getattr(at(Stage.LOADTEST, context(serving=serving)).target.request, field) == expected


@pytest.mark.parametrize(("loading", "seconds"), [(0.0, 600), (60.0, 600), (61.0, 3600), (360.0, 3600), (361.0, 14400)])
def test_a_pod_has_time_to_load_what_takes_long(loading: float, seconds: int) -> None:
    measured = replace(benchmarked(), load_seconds={"fp32": loading, "original": 9999.0})
    assert at(Stage.LOADTEST, benchmark=measured).target.startup_seconds == seconds


@pytest.mark.parametrize(
    ("serving", "same"),
    [
        ({"replicas": 3}, True),
        ({"instances": 2}, False),
        ({"accessLog": True}, False),
        ({"runtime": "triton"}, False),
        ({"resources": {"limits": {"cpu": "2"}}}, False),
    ],
)
def test_what_makes_another_revision(serving: dict[str, Any], same: bool) -> None:
    one, other = at(Stage.LOADTEST).target, at(Stage.LOADTEST, context(serving=serving)).target
    assert (one.digest == other.digest) == same
    assert one.request.revision == one.short


def test_a_deployment_lets_the_model_go_on() -> None:
    known = replace(at(Stage.LOADTEST), revision=None)
    assert isinstance(revision.look(known), Advance)
    assert advanced(revision.look(known)).target.name == f"magika-{advanced(revision.look(known)).target.short}"
    away = stopped(revision.look(replace(known, seen=replace(known.seen, revisions={}))))
    assert away.progress.reason == "Deploying"


def test_no_replicas_end_the_way() -> None:
    known = at(Stage.LOADTEST)
    spec = context(serving={"replicas": 0}).model
    stop = stopped(revision.look(replace(known, model=spec)))
    assert stop.progress.state is State.OFF
    assert stop.context.target.replicas == 0
