"""What GitOps tools conclude from a model's status: Argo CD's health.lua, kstatus (Flux) and kubectl wait.

Judged are Argo CD's own test cases and every status of whole lives on a cluster in memory; tests/e2e/test_states.py
judges those of a real cluster in the same way.
"""

import copy
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from onnxmodel_operator.api.resource import identify
from onnxmodel_operator.controller.reconcile import Reconciled
from onnxmodel_runtime.contract.outcome import ExitCode, Failure
from tests.builders import Cluster, body
from tests.gitops import GITOPS, UPSTREAM, acted, argo, check_health, check_status, kstatus, offered, waited

ROOT = Path(__file__).parents[2]


# ---- lives -----------------------------------------------------------------------------------------------------------


class Recorded(Cluster):
    """A cluster in memory that keeps the model as it was after each write, of the operator or of a user."""

    def __init__(self, *models: dict[str, Any]) -> None:
        self.states: list[dict[str, Any]] = []
        super().__init__(*models)

    def _store(self, item: dict[str, Any]) -> None:
        super()._store(item)
        if item["kind"] == "OnnxModel":
            self.states.append(copy.deepcopy(item))

    def step(self, name: str = "magika", *, namespace: str = "team-a", failures: int = 0) -> Reconciled:
        """A second goes by before each reconcile, so that a time that moves without need is seen."""
        self.pass_time(1)
        return super().step(name, namespace=namespace, failures=failures)

    def until_stage(self, stage: str) -> None:
        """On the good road, to the moment when the Job of this stage runs."""
        while stage not in self.jobs():
            self.settle()
            if stage not in self.jobs():
                self.play()


REFUSED = Failure("OpsetTooLow", "opset is 9, opset.min is 13", "Export again.", "spec.validation.opset.min")
UNREACHABLE = Failure("SourceUnreachable", "no such host", "Check source.uri.", "spec.source.uri")
MISMATCH = Failure("ProbeMismatch", "output y differs", "Look.")


def good(cluster: Recorded) -> None:
    cluster.live()


def refused(cluster: Recorded) -> None:
    cluster.settle()
    cluster.fail("validate", ExitCode.REFUSED, failure=REFUSED)
    cluster.settle()


def refused_then_mended(cluster: Recorded) -> None:
    refused(cluster)
    cluster.edit(validation={"opset": {"min": 9}})
    cluster.live()


def retried(cluster: Recorded) -> None:
    cluster.settle()
    cluster.attempt_fails("validate", ExitCode.RETRY, failure=UNREACHABLE, container="fetch")
    cluster.settle()
    cluster.live()


def gave_up(cluster: Recorded) -> None:
    cluster.settle()
    cluster.attempt_fails("validate", ExitCode.RETRY, failure=UNREACHABLE, container="fetch")
    cluster.settle()
    cluster.fail("validate", ExitCode.RETRY, failure=UNREACHABLE, reason="BackoffLimitExceeded", container="fetch")
    cluster.settle()


def without_node(cluster: Recorded) -> None:
    cluster.settle()
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
        "lastTransitionTime": cluster.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    cluster.pod(cluster.jobs()["validate"], phase="Pending", conditions=[condition], container="validate")
    cluster.settle()
    cluster.pass_time(600)
    cluster.settle()


def too_slow(cluster: Recorded) -> None:
    cluster.edit(benchmark={"constraints": {"p99Milliseconds": 0.5}})
    cluster.until_stage("benchmark")
    cluster.succeed("benchmark")
    cluster.settle()


def wrong_answer(cluster: Recorded) -> None:
    cluster.until_stage("probe")
    cluster.fail("probe", ExitCode.REFUSED, failure=MISMATCH)
    cluster.settle()


def wrong_answer_of_an_upgrade(cluster: Recorded) -> None:
    cluster.live()
    cluster.edit(serving={"batching": {"maxBatchSize": 64}})
    cluster.settle()
    cluster.deploy()
    cluster.fail("probe", ExitCode.REFUSED, failure=MISMATCH)
    cluster.settle()
    assert cluster.condition("Available")["status"] == "True"


def upgraded(cluster: Recorded) -> None:
    cluster.live()
    cluster.edit(optimization={"graphLevel": "Basic"})
    cluster.live()


def suspended_and_resumed(cluster: Recorded) -> None:
    cluster.live()
    cluster.edit(suspend=True)
    cluster.settle()
    cluster.edit(suspend=False)
    cluster.live()


def born_suspended(cluster: Recorded) -> None:
    cluster.edit(suspend=True)
    cluster.settle()


def scaled_to_zero(cluster: Recorded) -> None:
    cluster.live()
    cluster.edit(serving={"replicas": 0})
    cluster.settle()
    cluster.available()
    cluster.settle()


def scaled_to_zero_and_back(cluster: Recorded) -> None:
    scaled_to_zero(cluster)
    cluster.edit(serving={"replicas": 1})
    cluster.live()


def pods_die(cluster: Recorded) -> None:
    cluster.live()
    cluster.available(replicas=0)
    cluster.settle()
    cluster.available()
    cluster.settle()


def bad_edit_taken_back(cluster: Recorded) -> None:
    cluster.live()
    cluster.edit(serving={"nodePool": "nowhere"})
    cluster.settle()
    cluster.edit(serving={})
    cluster.live()


def deleted(cluster: Recorded) -> None:
    cluster.live()
    model = cluster.objects["OnnxModel", "team-a", "magika"]
    cluster._store({**model, "metadata": {**model["metadata"], "deletionTimestamp": "2026-01-01T01:00:00Z"}})
    cluster.settle()


# A life, and the turns of its health: P(rogressing), H(ealthy), D(egraded), S(uspended).
LIVES: tuple[tuple[Callable[[Recorded], None], str], ...] = (
    (good, "PH"),
    (refused, "PD"),
    (refused_then_mended, "PDPH"),
    (retried, "PH"),
    (gave_up, "PD"),
    (without_node, "PD"),
    (too_slow, "PD"),
    (wrong_answer, "PD"),
    (wrong_answer_of_an_upgrade, "PHPD"),
    (upgraded, "PHPH"),
    (suspended_and_resumed, "PHSPH"),
    (born_suspended, "PS"),
    (scaled_to_zero, "PHPS"),
    (scaled_to_zero_and_back, "PHPSPH"),
    (pods_die, "PHPH"),
    (bad_edit_taken_back, "PHPDPH"),
    (deleted, "PHP"),
)


@functools.cache
def lived(life: Callable[[Recorded], None]) -> list[dict[str, Any]]:
    """The model after every write of a life."""
    cluster = Recorded(body())
    life(cluster)
    return cluster.states


@pytest.fixture(params=[life for life, _ in LIVES], ids=lambda life: life.__name__)
def states(request) -> list[dict[str, Any]]:
    return lived(request.param)


# ---- Argo CD ---------------------------------------------------------------------------------------------------------

CASES = yaml.safe_load((UPSTREAM / "health_test.yaml").read_text())["tests"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["inputPath"])
def test_argo_cds_own_cases(case):
    model = yaml.safe_load((UPSTREAM / case["inputPath"]).read_text())
    assert argo(model) == (case["healthStatus"]["status"], case["healthStatus"]["message"])


def test_every_manifest_of_testdata_is_a_case():
    assert {case["inputPath"] for case in CASES} == {f"testdata/{path.name}" for path in UPSTREAM.glob("testdata/*")}


ACTIONS = yaml.safe_load((UPSTREAM / "actions" / "action_test.yaml").read_text())


def test_the_patch_for_argocd_cm_carries_the_same_scripts():
    data = yaml.safe_load((GITOPS / "argocd" / "argocd-cm.yaml").read_text())["data"]
    actions = yaml.safe_load(data.pop("resource.customizations.actions.onnx-operator.dev_OnnxModel"))
    assert data == {"resource.customizations.health.onnx-operator.dev_OnnxModel": (UPSTREAM / "health.lua").read_text()}
    assert actions.keys() == {"discovery.lua", "definitions"}
    assert actions["discovery.lua"] == (UPSTREAM / "actions" / "discovery.lua").read_text()
    scripts = {path.parent.name: path.read_text() for path in UPSTREAM.glob("actions/*/action.lua")}
    assert {each["name"]: each["action.lua"] for each in actions["definitions"]} == scripts


@pytest.mark.parametrize("case", ACTIONS["discoveryTests"], ids=lambda case: case["inputPath"])
def test_the_actions_that_argo_cd_offers(case):
    found = offered(yaml.safe_load((UPSTREAM / "actions" / case["inputPath"]).read_text()))
    assert [{"name": name, **action} for name, action in sorted(found.items())] == sorted(
        case["result"], key=lambda action: str(action["name"])
    )
    assert found.keys() == {path.parent.name for path in UPSTREAM.glob("actions/*/action.lua")}


@pytest.mark.parametrize("case", ACTIONS["actionTests"], ids=lambda case: f"{case['action']} {case['inputPath']}")
def test_what_the_actions_of_argo_cd_change(case):
    before, after = (
        yaml.safe_load((UPSTREAM / "actions" / case[path]).read_text()) for path in ("inputPath", "expectedOutputPath")
    )
    assert acted(case["action"], before) == after


def test_every_action_of_argo_cd_has_a_case_and_every_manifest_is_used():
    folder = UPSTREAM / "actions"
    cases = [*ACTIONS["discoveryTests"], *ACTIONS["actionTests"]]
    used = {case[path] for case in cases for path in ("inputPath", "expectedOutputPath") if path in case}
    assert {path for path in used if not path.startswith("..")} == {
        f"testdata/{f.name}" for f in folder.glob("testdata/*")
    }
    assert {case["action"] for case in ACTIONS["actionTests"]} == {
        path.parent.name for path in folder.glob("*/action.lua")
    }


@pytest.mark.parametrize("action", ["promote", "abort", "retry", "measure"])
def test_an_action_of_argo_cd_is_an_order_to_the_operator(action):
    model = acted(action, body())
    order = getattr(identify(model).orders, action)
    assert order == body()["metadata"]["resourceVersion"] != ""
    assert identify(acted("pause", model)).orders.pause
    assert not identify(acted("unpause", acted("pause", model))).orders.pause


@pytest.mark.parametrize(("life", "turns"), LIVES, ids=lambda value: getattr(value, "__name__", ""))
def test_health_over_a_life(life, turns):
    health = [argo(model)[0][0] for model in lived(life)]
    assert "".join(turn for turn, _ in itertools.groupby(health)) == turns


# ---- kstatus, Flux, kubectl wait -------------------------------------------------------------------------------------


def test_a_new_model_is_in_progress():
    model = body()
    assert model["status"] == {"observedGeneration": -1}, "what the API server gives a new model"
    assert kstatus(model) == "InProgress"
    assert kstatus({**model, "status": {}}) == "Current", "without that default, kstatus would call it ready"
    assert argo(model)[0] == "Progressing"
    assert not waited(model, "Ready")


def test_every_state_keeps_the_contract(states):
    assert len(states) > 1
    for model in states:
        check_status(model)
        check_health(model)


def test_times_move_with_their_condition_alone(states):
    for before, after in itertools.pairwise(states):
        assert before["status"]["observedGeneration"] <= after["status"]["observedGeneration"]
        earlier = {c["type"]: c for c in before["status"].get("conditions", [])}
        for condition in after["status"].get("conditions", []):
            if (old := earlier.get(condition["type"])) is not None:
                moved = old["lastTransitionTime"] != condition["lastTransitionTime"]
                assert moved == (old["status"] != condition["status"]), condition


def test_suspended_and_scaled_to_zero_wait_for_someone():
    """Neither done nor failed for kstatus: docs/gitops says what to tell Flux."""
    for life in (born_suspended, scaled_to_zero):
        last = lived(life)[-1]
        assert kstatus(last) == "InProgress"
        assert not waited(last, "Ready")
        assert not waited(last, "Stalled")


def test_kubectl_wait_does_not_take_the_old_generations_word():
    cluster = Recorded(body())
    cluster.live()
    assert waited(cluster.states[-1], "Ready")
    cluster.edit(suspend=True)
    assert not waited(cluster.states[-1], "Ready")
