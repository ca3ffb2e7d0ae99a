"""What others put into our objects: sidecars of a mesh, and fields that an admission webhook adds or changes."""

import copy

import pytest

from dev.results import good
from onnxmodel_operator import names
from onnxmodel_operator.api.status import OnnxModelStatus
from onnxmodel_operator.cluster.errors import ApiError
from onnxmodel_runtime.contract.outcome import Failure, Outcome, encode
from tests.builders import Cluster, body
from tests.stages import UNSERVED

SIDECAR = {"name": "istio-proxy", "image": "proxy", "state": {"running": {}}}


def end_with_a_sidecar(cluster: Cluster, stage: str, code: int, outcome: Outcome) -> None:
    """The stage's container ends, the pod does not."""
    job = cluster.jobs()[stage]
    end = {"terminated": {"exitCode": code, "message": encode(outcome), "finishedAt": "2026-01-01T00:00:01Z"}}
    own = {"name": stage, "image": "runtime:cpu", "state": end}
    cluster.pod(job, containerStatuses=[SIDECAR, own])


def test_a_sidecar_does_not_hang_a_stage():
    cluster = Cluster(body())
    cluster.settle()
    job = cluster.jobs()["validate"]
    end_with_a_sidecar(cluster, "validate", 0, Outcome("validate", 1.0, good(job)))
    written = cluster.settle()
    assert cluster.condition("Validated")["status"] == "True"
    status, deleted = ("status", "OnnxModel", "magika"), ("delete", "Job", job["metadata"]["name"])
    assert written.index(status) < written.index(deleted), "the result is in status before its Job goes"
    assert set(cluster.jobs()) == {"optimize"}
    cluster.live()


def test_an_attempt_that_a_sidecar_keeps_from_being_tried_again_names_it():
    cluster = Cluster(body())
    cluster.settle()
    failure = Failure("SourceUnreachable", "the store does not answer", "It is tried again.")
    end_with_a_sidecar(cluster, "validate", 21, Outcome("validate", 1.0, failure=failure, retry=True))
    cluster.settle()
    assert "container istio-proxy, which does not belong to the operator" in cluster.status()["message"]


@pytest.mark.parametrize(("code", "quiet"), [(21, False), (0, True)], ids=["failed", "succeeded"])
def test_a_failed_attempt_beside_a_sidecar_holds_its_node_against_no_measurement(code, quiet):
    cluster = Cluster(body(), body(name="other"))
    cluster.settle("other")
    other = cluster.jobs()["validate"]
    failure = Failure("SourceUnreachable", "the store does not answer", "It is tried again.")
    outcome = Outcome("validate", 1.0, failure=failure, retry=True) if code else Outcome("validate", 1.0, good(other))
    end = {"terminated": {"exitCode": code, "message": encode(outcome), "finishedAt": "2026-01-01T00:00:01Z"}}
    own = {"name": "validate", "image": "runtime:cpu", "state": end}
    cluster.pod(other, spec={"nodeName": "n1"}, containerStatuses=[SIDECAR, own])
    cluster.reach("benchmark")
    annotations = cluster.jobs()["benchmark"]["metadata"]["annotations"]
    assert (names.ANNOTATION_QUIET in annotations) is quiet


def test_jobs_ask_meshes_to_stay_out_and_servers_do_not():
    cluster = Cluster(body())
    cluster.live()
    for job in cluster.jobs().values():
        metadata = job["spec"]["template"]["metadata"]
        assert metadata["labels"]["sidecar.istio.io/inject"] == "false"
        assert metadata["annotations"]["linkerd.io/inject"] == "disabled"
    (server,) = cluster.deployments()
    assert set(server["spec"]["template"]["metadata"]["labels"]) == {
        names.MANAGED_BY,
        names.LABEL_MODEL,
        names.LABEL_REVISION,
        names.LABEL_SERVER,
    }


def adds(item):
    """As a webhook of a mesh or of a platform does it."""
    item = copy.deepcopy(item)
    item["metadata"].setdefault("labels", {})["team"] = "a"
    if item["kind"] == "Deployment":
        pod = item["spec"]["template"]["spec"]
        pod["containers"].insert(0, {"name": "proxy", "image": "proxy:1"})
        pod["containers"][1].setdefault("env", []).append({"name": "REGION", "value": "eu"})
        pod["tolerations"].append({"key": "spot", "operator": "Exists"})
    return item


def changes(item):
    """As a webhook does it that rewrites images to a mirror and adds to the node selector."""
    item = copy.deepcopy(item)
    if item["kind"] == "Deployment":
        pod = item["spec"]["template"]["spec"]
        pod["containers"][0]["image"] = f"mirror.example.com/{pod['containers'][0]['image']}"
        pod["nodeSelector"]["zone"] = "a"
    return item


@pytest.mark.parametrize("webhook", [adds, changes])
def test_a_webhook_causes_no_fight(webhook):
    cluster = Cluster(body())
    cluster.webhook = webhook
    cluster.live()
    assert cluster.settle() == []
    cluster.restart()
    again = cluster.settle()
    assert len(again) <= 1
    assert cluster.settle() == []


def test_another_hand_after_the_webhook_is_undone():
    cluster = Cluster(body())
    cluster.webhook = changes
    cluster.live()
    (server,) = cluster.deployments()
    edited = copy.deepcopy(server)
    edited["spec"]["template"]["spec"]["containers"][0]["image"] = "someone:else"
    cluster._store(edited)
    assert cluster.settle()[0][:2] == ("apply", "Deployment")
    (server,) = cluster.deployments()
    assert server["spec"]["template"]["spec"]["containers"][0]["image"].startswith("mirror.example.com/")


class OlderCrd(Cluster):
    """Its API server keeps no `cut` of a status. To apply what changes nothing is no write there, and makes no event."""

    cut = ""

    async def apply_status(self, namespace, name, version, status):
        """Store what the CRD knows of it."""
        self.writes.append(("status", "OnnxModel", name))
        model = self.objects["OnnxModel", namespace, name]
        kept = {key: value for key, value in status.items() if key != self.cut}
        if model["status"] != kept:
            self._store({**model, "status": kept})
        return self.objects["OnnxModel", namespace, name]


def test_a_status_field_that_an_older_crd_prunes_is_written_once_and_told():
    cluster = OlderCrd(body())
    cluster.live()
    cluster.cut = "serving"
    model = cluster.objects["OnnxModel", "team-a", "magika"]
    cluster._store({**model, "status": {k: v for k, v in model["status"].items() if k != cluster.cut}})
    before = len(cluster.writes)
    outcomes = [cluster.step() for _ in range(5)]
    assert [(outcome.wrote, outcome.unkept) for outcome in outcomes] == [(False, "serving.url")] * 5
    assert cluster.writes[before:] == [("status", "OnnxModel", "magika")]
    cluster.cut = ""
    cluster.edit(serving={"replicas": 2})
    assert cluster.step().unkept == ""


class Refusing(Cluster):
    """An admission rule of its API server forbids a field in a status."""

    forbidden = "variants"
    code = 422
    WORDS = "denied: no variants here"

    async def apply_status(self, namespace, name, version, status):
        """Refuse it, or store it."""
        if self.forbidden in status:
            raise ApiError(self.code, self.WORDS)
        return await super().apply_status(namespace, name, version, status)

    def refuse(self):
        with pytest.raises(ApiError, match=self.WORDS):
            self.step()


@pytest.mark.parametrize("code", [400, 403, 422], ids=["webhook", "policy", "schema"])
def test_a_status_that_the_api_server_refuses_is_told_in_the_status_that_it_takes(code):
    cluster = Refusing(body())
    cluster.code = code
    for stage in UNSERVED:
        cluster.settle()
        before = cluster.status()
        cluster.succeed(stage)
    cluster.refuse()
    status = cluster.status()
    assert (status["phase"], status["reason"]) == ("Failed", "StatusRefused")
    assert Refusing.WORDS in status["message"]
    assert (status["lastFailure"]["stage"], status["lastFailure"]["reason"]) == ("status", "StatusRefused")
    assert {name: status[name] for name in ("stages", "model")} == {name: before[name] for name in ("stages", "model")}
    assert cluster.condition("Stalled")["message"] == status["message"]
    assert cluster.condition("Ready")["status"] == "False"
    assert cluster.condition("Reconciling") is None
    assert cluster.condition("Validated")["status"] == "True"
    assert OnnxModelStatus.model_validate(status)
    writes = len(cluster.writes)
    cluster.refuse()
    assert len(cluster.writes) == writes, "told once"
    cluster.available()
    cluster.refuse()
    assert "loadtest" in cluster.jobs(), "the work goes on"
    cluster.forbidden = "none"
    cluster.live()
    assert cluster.condition("Stalled") is None
    assert "lastFailure" not in cluster.status()


def test_an_api_server_that_takes_no_status_at_all_is_asked_again():
    cluster = Refusing(body())
    cluster.forbidden = "conditions"
    cluster.refuse()
    assert [verb for verb, _, _ in cluster.writes] == ["apply"] * 2
    cluster.refuse()


@pytest.mark.parametrize(
    "words",
    [
        'onnxmodels "m" is forbidden: User "system:serviceaccount:o:op" cannot patch resource "onnxmodels/status" in API group',
        "onnxmodels is forbidden: not allowed in namespace team-a because it is being terminated",
    ],
    ids=["a right", "a leaving namespace"],
)
def test_a_refusal_that_is_not_of_what_is_in_a_status_is_not_told_in_another(words):
    cluster, asked = Cluster(body()), []

    async def refused(*arguments):
        asked.append(arguments)
        raise ApiError(403, words)

    cluster.apply_status = refused
    with pytest.raises(ApiError, match=words[:10]):
        cluster.step()
    assert len(asked) == 1


def test_what_refuses_the_excuse_as_well_does_not_hide_what_came_first():
    cluster, refusals = Cluster(body()), iter(("the first", "the second"))

    async def refused(*_):
        raise ApiError(403, next(refusals))

    cluster.apply_status = refused
    with pytest.raises(ApiError, match="the first"):
        cluster.step()


class Strict(Cluster):
    """Its API server takes no status but the one that says so, for as long as `strict`."""

    strict = False

    async def apply_status(self, namespace, name, version, status):
        """Refuse it, or store it."""
        if self.strict and status["reason"] != "StatusRefused":
            raise ApiError(403, "denied: not now")
        return await super().apply_status(namespace, name, version, status)


@pytest.mark.parametrize(("stage", "reason"), [("validate", "DigestMismatch"), ("probe", "ProbeMismatch")])
def test_a_refused_status_keeps_why_a_job_failed_whose_pods_are_gone(stage, reason):
    cluster = Strict(body())
    while stage not in cluster.jobs():
        cluster.play()
        cluster.settle()
    cluster.fail(stage, 20, failure=Failure(reason, "the reason", "Correct it."))
    cluster.settle()
    for key in [key for key in cluster.objects if key[0] == "Pod"]:
        del cluster.objects[key]
    known = cluster.status()["lastFailure"]
    assert known["reason"] == reason
    cluster.strict = True
    cluster.edit()
    for _ in range(2):
        with pytest.raises(ApiError, match="denied: not now"):
            cluster.step()
    assert cluster.status()["reason"] == cluster.condition("Stalled")["reason"] == "StatusRefused"
    assert "denied: not now" in cluster.condition("Stalled")["message"]
    assert cluster.status()["lastFailure"] == known
    cluster.strict = False
    cluster.settle()
    assert (cluster.status()["reason"], cluster.status()["message"]) == (reason, known["message"])


def test_a_webhook_that_takes_our_digest_off_jobs_does_not_make_them_again_and_again():
    def strip(manifest):
        kept = {k: v for k, v in manifest["metadata"]["annotations"].items() if k != names.ANNOTATION_APPLIED}
        annotations = kept if manifest["kind"] == "Job" else manifest["metadata"]["annotations"]
        return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}

    cluster = Cluster(body())
    cluster.webhook = strip
    cluster.live()
    made = [name for verb, kind, name in cluster.writes if (verb, kind) == ("apply", "Job")]
    assert len(made) == len(set(made))
