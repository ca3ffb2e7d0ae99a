"""What a digest covers besides the request."""

from dataclasses import fields, replace

import pytest

from dev.results import URI
from onnxmodel_operator.plan import digests
from onnxmodel_operator.platform.pods import Traits
from onnxmodel_operator.platform.resolve import Placement
from onnxmodel_operator.platform.settings import Pool, Resources
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.contract.stages import Stage
from tests import contexts
from tests.builders import SETTINGS

PLACED = Placement(image="runtime:1", pool=Pool(), resources=Resources(), gpus=0)
OTHER = {
    "image": "runtime:2",
    "pool": Pool(node_selector={"zone": "b"}),
    "resources": Resources(limits={"cpu": "2"}),
    "gpus": 1,
    "traits": Traits(labels={"team": "search"}),
}


@pytest.mark.parametrize("name", [field.name for field in fields(Placement)])
def test_each_field_of_a_placement_is_covered(name):
    request = ServeRequest(name="mlp", model="/artifacts/m", sha256="a" * 64)
    before, after = (
        digests.of_revision("claim", request, placement, "")
        for placement in (PLACED, replace(PLACED, **{name: OTHER[name]}))
    )
    assert before != after


SAID = {
    "labels": {"team": "search"},
    "annotations": {"example.com/owner": "search"},
    "serviceAccountName": "servers",
    "priorityClassName": "high",
    "imagePullSecrets": [{"name": "registry"}],
    "topologySpreadConstraints": [{"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
}
OLDER = "priorityClassName"  # a pool's is older than this rule, and runs the stages again
QUEUE = {"kueue.x-k8s.io/queue-name": "team-a"}


def _digests(settings=SETTINGS, **serving):
    """Of each stage before the server and of the revision."""
    known = contexts.at(Stage.LOADTEST, contexts.context(settings=settings, serving=serving))
    return {step.stage: step.digest for step in known.steps}, known.target.digest


def _pool(**fields):
    pools = {**SETTINGS.pools, "default": Pool.model_validate(fields)}
    return contexts.platform(pools=pools)


@pytest.mark.parametrize(
    ("where", "field"), [*(("model", field) for field in SAID), *(("pool", field) for field in SAID if field != OLDER)]
)
def test_what_is_said_of_pods_makes_a_new_revision_and_measures_nothing_again(where, field):
    stages, revision = _digests()
    said = {field: SAID[field]}
    now = _digests(pod=said) if where == "model" else _digests(_pool(**said))
    assert set(stages) == {Stage.VALIDATE, Stage.OPTIMIZE, Stage.BENCHMARK}
    assert now[0] == stages
    assert now[1] != revision


def _sourced(settings=SETTINGS, **source):
    """The digests of a model with these fields of its source."""
    known = contexts.at(Stage.LOADTEST, contexts.context(settings=settings, source={"uri": URI, **source}))
    return {step.stage: step.digest for step in known.steps}


def test_the_account_of_a_fetch_and_what_the_pool_says_of_it_fetch_nothing_again():
    before = _sourced()
    assert _sourced(serviceAccountName="models") == before
    assert _sourced(_pool(source={"serviceAccountName": "models", "env": {"AWS_REGION": "eu-west-1"}})) == before


def test_a_models_variables_may_name_another_store():
    assert _sourced(env={"AWS_ENDPOINT_URL": "https://store"})[Stage.VALIDATE] != _sourced()[Stage.VALIDATE]


def test_the_labels_of_a_queue_are_of_jobs_and_replace_no_server():
    assert _digests(pod={"labels": QUEUE}) == _digests() == _digests(_pool(labels=QUEUE))


def test_another_template_of_claims_is_another_kind_of_gpu():
    before, after = (
        _digests(_pool(resourceClaimTemplateName=name, executionProviders=["CUDA", "CPU"])) for name in ("a", "b")
    )
    assert all(before[0][stage] != after[0][stage] for stage in before[0])
    assert before[1] != after[1]
