"""A pool's words and a model's about pods, joined: the model wins, key by key."""

import pytest

from onnxmodel_operator.api.spec.pod import Pod
from onnxmodel_operator.api.spec.source import Source
from onnxmodel_operator.platform.pods import SourceTraits, Traits, source_traits, traits
from onnxmodel_operator.platform.settings import Pool

POOL = Pool.model_validate(
    {
        "labels": {"team": "platform", "zone": "a", "kueue.x-k8s.io/queue-name": "shared"},
        "annotations": {"owner": "platform"},
        "serviceAccountName": "models",
        "priorityClassName": "low",
        "imagePullSecrets": [{"name": "mirror"}],
        "topologySpreadConstraints": [{"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
    }
)
SPREAD = {"topologyKey": "node", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2}


def said(**fields):
    return Pod.model_validate(fields)


def test_nothing_is_said():
    assert traits(Pool(), Pod()) == Traits()


def test_the_pool_alone():
    assert traits(POOL, Pod()) == Traits(
        labels={"team": "platform", "zone": "a"},
        annotations={"owner": "platform"},
        service_account_name="models",
        pull_secrets=("mirror",),
        spread=({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},),
        queue={"kueue.x-k8s.io/queue-name": "shared"},
    )


def test_the_model_wins_and_pull_secrets_add_up():
    model = said(
        labels={"team": "search", "kueue.x-k8s.io/queue-name": "mine"},
        annotations={"mine": "too"},
        serviceAccountName="mine",
        priorityClassName="high",
        imagePullSecrets=[{"name": "registry"}, {"name": "mirror"}],
        topologySpreadConstraints=[SPREAD],
    )
    assert traits(POOL, model) == Traits(
        labels={"team": "search", "zone": "a"},
        annotations={"owner": "platform", "mine": "too"},
        service_account_name="mine",
        priority_class_name="high",
        pull_secrets=("mirror", "registry"),
        spread=({"maxSkew": 1, **SPREAD},),
        queue={"kueue.x-k8s.io/queue-name": "mine"},
    )


def test_a_model_can_ask_for_no_spread_at_all():
    assert traits(POOL, said(topologySpreadConstraints=[])).spread == ()


def test_the_models_words_about_its_fetch_win_over_the_pools():
    pool = Pool.model_validate({"source": {"serviceAccountName": "pool", "env": {"AWS_REGION": "a", "NO_PROXY": "b"}}})
    uri = {"uri": "s3://b/k"}
    assert source_traits(Pool(), Source.model_validate(uri)) == SourceTraits()
    both = {"AWS_REGION": "a", "NO_PROXY": "b"}
    assert source_traits(pool, Source.model_validate(uri)) == SourceTraits("pool", both)
    model = Source.model_validate({**uri, "serviceAccountName": "mine", "env": {"AWS_REGION": "c"}})
    assert source_traits(pool, model) == SourceTraits("mine", {**both, "AWS_REGION": "c"})


@pytest.mark.parametrize(
    ("own", "account"),
    [
        ({}, "pool"),
        ({"env": {"AWS_REGION": "eu-west-1"}}, "pool"),
        ({"env": {"AWS_ENDPOINT_URL": "https://store.example.com"}}, ""),
        ({"env": {"HTTPS_PROXY": "http://proxy.example.com"}}, ""),
        ({"secretRef": {"name": "keys"}}, ""),
        ({"secretRef": {"name": "keys"}, "serviceAccountName": "mine"}, "mine"),
    ],
)
def test_the_pools_account_is_not_for_who_could_send_its_token_elsewhere(own, account):
    pool = Pool.model_validate({"source": {"serviceAccountName": "pool"}})
    source = Source.model_validate({"uri": "s3://b/k", **own})
    assert source_traits(pool, source).service_account_name == account
