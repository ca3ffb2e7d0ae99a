"""What the platform forbids is said with its field, before anything is fetched."""

import json

import pytest

from onnxmodel_operator.api.resource import parse
from onnxmodel_operator.platform import settings
from onnxmodel_operator.platform.policy import violations
from tests.builders import SETTINGS, Cluster, body

SIGNATURE = {"uri": "http://b/s", "publicKeyRef": {"name": "n", "key": "k"}}
PINNED = {"source": {"uri": "s3://b/k", "sha256": "a" * 64}}
SIGNED = {"source": {"uri": "s3://b/k", "signature": SIGNATURE}}
GOLDEN = {"validation": {"golden": {"uri": "http://b/g.npz"}}}
PROD = {"require": [{"namespaces": ["prod-*", "live"], "pin": True}, {"namespaces": ["*-a"], "signature": True}]}


@pytest.mark.parametrize(
    ("policy", "namespace", "spec", "fields"),
    [
        ({}, "team-a", {}, []),
        ({"sources": {"schemes": ["s3"]}}, "team-a", {}, []),
        ({"sources": {"schemes": ["https", "oci"]}}, "team-a", {}, ["spec.source.uri"]),
        ({"sources": {"schemes": ["s3"]}}, "team-a", SIGNED, ["spec.source.signature.uri"]),
        ({"sources": {"schemes": ["s3"]}}, "team-a", GOLDEN, ["spec.validation.golden.uri"]),
        (PROD, "team-b", {}, []),
        (PROD, "prod-1", {}, ["spec.source.sha256"]),
        (PROD, "prod-1", PINNED, []),
        (PROD, "live", {}, ["spec.source.sha256"]),
        (PROD, "live-2", {}, []),
        (PROD, "prod-a", PINNED, ["spec.source.signature"]),
        (PROD, "prod-a", {}, ["spec.source.sha256", "spec.source.signature"]),
        (PROD, "team-a", SIGNED, []),
        ({"minOpset": 15}, "team-a", {}, ["spec.validation.opset.min"]),
        ({"minOpset": 15}, "team-a", {"validation": {"opset": {"min": 15}}}, []),
    ],
)
def test_violations(policy, namespace, spec, fields):
    model = parse(body(namespace=namespace, **spec))
    assert [field for field, _ in violations(model, settings.Policy.model_validate(policy))] == fields


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"sources": {"schemes": ["ftp"]}}, "policy.sources.schemes[0]"),
        ({"sources": {"networks": ["10.0.0.0/99"]}}, "policy.sources.networks[0]"),
        ({"require": [{"namespaces": []}]}, "policy.require[0].namespaces"),
    ],
)
def test_a_wrong_policy_stops_the_operator_with_its_field(policy, words):
    with pytest.raises(settings.SettingsError) as caught:
        settings.parse({"images": {"runtimeCpu": "c"}, "policy": policy})
    assert words in str(caught.value)


def test_a_violation_is_stalled_and_leaves_what_serves_alone():
    cluster = Cluster(body())
    cluster.live()
    serving = cluster.routed()
    rules = {"require": [{"namespaces": ["*"], "pin": True}]}
    cluster.settings = SETTINGS.model_copy(update={"policy": settings.Policy.model_validate(rules)})
    cluster.settle()
    assert cluster.condition("Stalled")["reason"] == "PolicyViolation"
    assert cluster.status()["lastFailure"]["field"] == "spec.source.sha256"
    assert "settings.policy" in cluster.status()["lastFailure"]["hint"]
    assert cluster.routed() == serving


def test_rules_of_the_fetch_make_no_model_validate_again():
    cluster = Cluster(body())
    cluster.live()
    rules = {
        "sources": {"hosts": ["*.example.com"], "privateNetworks": False},
        "maxModelBytes": 1 << 40,
        "maxNodes": 10,
    }
    cluster.settings = SETTINGS.model_copy(update={"policy": settings.Policy.model_validate(rules)})
    assert cluster.settle() == []


def test_a_larger_batch_makes_no_model_validate_again():
    cluster = Cluster(body())
    cluster.live()
    cluster.edit(serving={"batching": {"maxBatchSize": 64}})
    assert not [
        name for verb, kind, name in cluster.settle() if (verb, kind) == ("apply", "Job") and "probe" not in name
    ]


def test_another_key_is_another_validation():
    """The key itself is the validate container's to see; where it comes from is the spec's."""
    signature = {"uri": "s3://models/m.sig", "publicKeyRef": {"name": "old", "key": "key.pub"}}
    cluster = Cluster(body(source={"uri": "s3://models/m/", "signature": signature}))
    cluster.live()
    cluster.edit(
        source={"uri": "s3://models/m/", "signature": {**signature, "publicKeyRef": {"name": "new", "key": "key.pub"}}}
    )
    assert [name for verb, kind, name in cluster.settle() if (verb, kind) == ("apply", "Job") and "validate" in name]


def test_the_platforms_rules_reach_the_stage():
    rules = {"minOpset": 13, "require": [{"namespaces": ["team-a"], "pin": True}], "maxNesting": 3}
    platform = SETTINGS.model_copy(update={"policy": settings.Policy.model_validate(rules)})
    cluster = Cluster(body(**PINNED, validation={"mode": "Warn"}), platform=platform)
    cluster.settle()
    request = json.loads(cluster.jobs()["validate"]["spec"]["template"]["spec"]["containers"][0]["args"][2])
    assert (request["opset_floor"], request["pin_all"], request["max_depth"]) == (13, True, 3)
