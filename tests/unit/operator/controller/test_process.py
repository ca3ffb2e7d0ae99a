"""What the process does around a reconcile: when it looks, what it logs, when it tries again."""

import asyncio
import contextlib
import itertools

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from onnxmodel_operator.cluster.access import Access
from onnxmodel_operator.cluster.client import connect
from onnxmodel_operator.cluster.errors import ApiError, StaleError
from onnxmodel_operator.cluster.kinds import BY_NAME
from onnxmodel_operator.controller import reconcile
from onnxmodel_operator.controller.outage import Outage
from onnxmodel_operator.controller.process import Operator, _lead
from onnxmodel_operator.controller.workqueue import Urgency
from tests.builders import SETTINGS, Cluster, body, watched


def job(*conditions):
    return {"status": {"conditions": [{"type": kind, "status": "True"} for kind in conditions]}}


def model(generation=2, observed=2, **metadata):
    return {"metadata": {"generation": generation, **metadata}, "status": {"observedGeneration": observed}}


@pytest.mark.parametrize(
    ("kind", "item", "urgency"),
    [
        ("OnnxModel", model(), None),
        ("OnnxModel", model(generation=3), Urgency.FIRST),
        ("OnnxModel", model(deletionTimestamp="2026-01-01T00:00:00Z"), Urgency.FIRST),
        ("OnnxModel", {"metadata": {"generation": 1}}, Urgency.FIRST),
        ("OnnxModel", None, Urgency.FIRST),
        ("Job", job(), None),
        ("Job", {}, None),
        ("Job", job("SuccessCriteriaMet"), None),
        ("Job", job("SuccessCriteriaMet", "Complete"), Urgency.NEXT),
        ("Job", job("Failed"), Urgency.NEXT),
        ("Job", None, Urgency.NEXT),
        ("Pod", {"status": {"phase": "Succeeded"}}, None),
        ("Pod", None, None),
        ("Deployment", {}, Urgency.NEXT),
        ("Service", {}, Urgency.NEXT),
        ("PersistentVolumeClaim", {}, Urgency.NEXT),
    ],
)
async def test_what_a_next_step_waits_for_is_looked_at_at_once_and_the_rest_soon(kind, item, urgency):
    operator = Operator(Cluster(body()), SETTINGS)
    changed, key = operator._changed(BY_NAME[kind]), ("team-a", "magika")
    changed(key, item, later=False)
    waiting = operator.queue._waiting.get(key)
    assert (waiting and waiting[0]) == urgency
    assert (key in operator.queue._due) == (urgency is None)
    other = Operator(Cluster(body()), SETTINGS)
    other._changed(BY_NAME[kind])(key, item, later=True)
    assert other.queue._waiting[key][0] is Urgency.LATER, "a restart knows nothing that is new"


def test_an_outage_is_said_once_and_its_end_once(caplog):
    caplog.set_level("INFO")
    now = 0.0
    over = []
    outage = Outage(lambda: over.append(now), lambda: now)
    assert outage.seconds() > 1e9
    for _ in range(100):
        outage.heard(ConnectionError("refused"))
    now = 30.0
    outage.heard(ApiError(500, "of this request"))
    for _ in range(10):  # it flaps
        outage.heard(TimeoutError())
        outage.heard(None)
    outage.heard(TimeoutError())
    assert (over, outage.seconds()) == ([30.0], 0.0)
    assert [record.getMessage() for record in caplog.records] == [
        "the API server does not respond: refused; retrying until it does",
        "the API server responds again, after 30 s",
    ]
    now = 90.0
    outage.heard(ApiError(503, "unavailable"))
    assert caplog.records[-1].getMessage().startswith("the API server does not respond: unavailable;"), "it lasts"
    now = 100.0
    outage.heard(None)
    assert caplog.records[-1].getMessage() == "the API server responds again, after 70 s"
    now = 200.0
    outage.heard(ApiError(401, "Unauthorized"))
    assert caplog.records[-1].getMessage().startswith("the API server rejects the operator's token: Unauthorized;")
    outage.heard(None)
    now = 300.0
    outage.heard(TimeoutError())
    assert caplog.records[-1].getMessage().startswith("the API server does not respond: TimeoutError;")


async def test_each_request_tells_how_it_ended():
    answers = iter([500, 503, 200, 401, 404])

    async def answer(_):
        status = next(answers, 0)
        return web.json_response({"message": "said"}, status=status) if status else web.Response(body=b"{cut")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server, connect(Access(str(server.make_url("")).rstrip("/"))) as client:
        heard = []
        client.heard = heard.append
        for _ in range(6):
            with contextlib.suppress(ApiError, OSError):
                await client.get("Job", "n", "j")
        await server.close()
        with pytest.raises(ConnectionError):
            await client.get("Job", "n", "j")
    assert [getattr(error, "status", error and type(error)) for error in heard] == [
        500, 503, None, 401, 404, None, ConnectionError, ConnectionError,
    ]  # fmt: skip


def refused(kind, status, message):
    """A model whose child the API server refuses."""
    cluster = Cluster(body())
    cluster.refuses[kind] = ApiError(status, message)
    operator = Operator(cluster, SETTINGS)
    for (kind, _, _), item in cluster.objects.items():
        operator.cache.put(BY_NAME[kind], item)
    return cluster, operator


async def test_a_right_that_the_operator_lacks_is_not_taken_for_a_quota():
    words = 'jobs.batch "m" is forbidden: User "system:serviceaccount:o:op" cannot patch resource "jobs" in API group'
    cluster, operator = refused("PersistentVolumeClaim", 403, words)
    await operator._work(("team-a", "magika"))
    failure = cluster.status()["lastFailure"]
    assert (failure["reason"], "docs/install.md#permissions" in failure["hint"]) == ("ApplyFailed", True)
    assert "quota" not in failure["hint"]


async def test_a_model_in_a_namespace_that_is_being_deleted_is_no_trouble(caplog):
    caplog.set_level("DEBUG")
    words = 'jobs "m" is forbidden: unable to create new content in namespace team-a because it is being terminated'
    cluster, operator = refused("PersistentVolumeClaim", 403, words)
    await operator._work(("team-a", "magika"))
    assert cluster.writes == []
    said = [record.levelname for record in caplog.records if "being terminated" in record.getMessage()]
    assert said == ["DEBUG"]


async def test_an_older_crd_is_said_once_for_all_models_until_it_is_mended(caplog):
    cluster = Cluster(body(), body("other"))
    older = (
        "failed to create typed patch object (t/m; onnx-operator.dev/v1alpha1, Kind=OnnxModel): .status.stages: field "
    )
    tell, left = cluster.apply_status, 10

    async def apply_status(*arguments):
        nonlocal left
        left -= 1
        if left >= 0:
            raise ApiError(500, f"{older}not declared in schema")
        return await tell(*arguments)

    cluster.apply_status = apply_status
    operator = Operator(cluster, SETTINGS)
    operator.health.began = True
    for reflector in operator.reflectors:
        reflector.synced.set()
    for (kind, _, _), item in cluster.objects.items():
        operator.cache.put(BY_NAME[kind], item)
    for _ in range(5):
        await operator._work(("team-a", "magika"))
        await operator._work(("team-a", "other"))
    said = [record.getMessage() for record in caplog.records]
    assert [words.partition(" (team-a/magika")[0] for words in said] == [operator.health.waits()]
    assert said[0].startswith("the CRD is older than the operator: apply ")
    await operator._work(("team-a", "magika"))
    assert operator.health.waits() == (
        "the CRD is older than the operator: apply the CRD of the operator's release (docs/install.md)"
    )
    await operator._work(("team-a", "other"))
    assert operator.health.waits() is None


async def test_another_refusal_of_the_same_code_is_told_and_the_same_one_once(caplog):
    caplog.set_level("WARNING")
    operator = Operator(Cluster(body()), SETTINGS)
    for number in range(6):
        what = "jobs" if number < 3 else "onnxmodels/status"
        operator._say(("team-a", "magika"), ApiError(403, f"request {number}: cannot patch {what}"), 1.0)
    assert [record.getMessage() for record in caplog.records] == [
        "team-a/magika: request 0: cannot patch jobs; retrying in 1.0 s",
        "team-a/magika: request 3: cannot patch onnxmodels/status; retrying in 1.0 s",
    ]


async def test_a_status_that_is_not_kept_whole_is_said_once_for_all_models_and_again_when_it_comes_back(caplog):
    caplog.set_level("WARNING")
    cluster = Cluster(body(), body("other"))
    tell, prunes = cluster.apply_status, True

    async def apply_status(namespace, name, uid, status):
        return await tell(namespace, name, uid, {k: v for k, v in status.items() if k != "message" or not prunes})

    cluster.apply_status = apply_status
    operator = Operator(cluster, SETTINGS)

    async def work(generation):
        for name in ("magika", "other"):
            if generation > 1:
                cluster.edit(name, suspend=generation % 2 == 0)
            operator.cache.put(BY_NAME["OnnxModel"], cluster.objects["OnnxModel", "team-a", name])
            for _ in range(3):
                await operator._work(("team-a", name))
        return (
            operator.health.problem,
            caplog.text.count("or a webhook changes the status"),
            caplog.text.count("status.message"),
        )

    assert await work(1) == (None, 1, 1), "a stripped field keeps nobody's models from being served"
    assert await work(2) == (None, 1, 1)
    prunes = False
    assert await work(3) == (None, 1, 1)
    prunes = True
    assert await work(4) == (None, 2, 2)


async def test_a_standby_that_cannot_read_the_lease_is_not_ready(monkeypatch):
    async def read_lease(*_):
        raise ApiError(403, "leases.coordination.k8s.io is forbidden")

    cluster = Cluster()
    monkeypatch.setattr(cluster, "read_lease", read_lease, raising=False)
    operator = Operator(cluster, SETTINGS)
    standby = asyncio.create_task(_lead(operator, "n"))
    await asyncio.sleep(0)
    assert operator.health.waits() is None
    monkeypatch.setattr("onnxmodel_operator.controller.health.LEASE_SECONDS", 1e-9)
    assert operator.health.waits().startswith("the Lease could not be read")
    standby.cancel()
    with pytest.raises(asyncio.CancelledError):
        await standby


async def test_a_webhook_that_cannot_be_called_is_said_once_in_the_log_and_in_status(caplog):
    caplog.set_level("INFO")
    cluster, operator = refused("PersistentVolumeClaim", 500, 'failed calling webhook "quota.example.com"')
    for turn in range(8):
        await operator._work(("team-a", "magika"))
        assert ("reason" in cluster.status()) is (turn >= 3), "an API server may fail once"
    assert cluster.status()["reason"] == "ApplyFailed"
    assert cluster.condition("Reconciling")["status"] == "True"
    assert "failed calling webhook" in cluster.status()["message"]
    assert len(cluster.writes) == 1
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert "does not respond" not in caplog.text
    cluster.refuses.clear()
    await operator._work(("team-a", "magika"))
    assert cluster.status()["reason"] != "ApplyFailed"


class Refusing(Cluster):
    """Two of three writes are refused."""

    def __init__(self, *models):
        super().__init__(*models)
        self.turn = itertools.count()

    @contextlib.contextmanager
    def _write(self, verb, key):
        if next(self.turn) % 3 < 2:
            raise ApiError(503, "unavailable")
        with super()._write(verb, key):
            yield


async def test_a_write_that_was_done_begins_the_backoff_anew():
    cluster, key, failures = Refusing(body()), ("team-a", "magika"), []
    operator = Operator(cluster, SETTINGS)
    for _ in range(200):
        for (kind, _, _), item in cluster.objects.items():
            if kind in BY_NAME and watched(item):
                operator.cache.put(BY_NAME[kind], item)
        await operator._work(key)
        failures.append(operator.queue.failures(key))
        if not failures[-1]:
            if (cluster.condition("Ready") or {}).get("status") == "True":
                break
            cluster.play()
    assert cluster.status()["phase"] == "Ready"
    assert max(failures) == 2, failures


async def test_undoing_another_hand_each_time_does_not_begin_the_backoff_anew():
    cluster, key, failures = Cluster(body()), ("team-a", "magika"), []
    await asyncio.to_thread(cluster.live)
    await asyncio.to_thread(cluster.settle)
    cluster.edit(optimization={"graphLevel": "Basic"})
    cluster.refuses["Job"] = ApiError(403, "exceeded quota: x")
    operator = Operator(cluster, SETTINGS)
    for number in range(4):
        service = cluster.objects["Service", *key]
        selector = {**service["spec"]["selector"], "x": str(number)}
        cluster._store({**service, "spec": {**service["spec"], "selector": selector}})
        for (kind, _, _), item in cluster.objects.items():
            if kind in BY_NAME and watched(item):
                operator.cache.put(BY_NAME[kind], item)
        await operator._work(key)
        assert "x" not in cluster.objects["Service", *key]["spec"]["selector"]
        failures.append(operator.queue.failures(key))
    assert failures == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "refuses", [None, StaleError(409, "the object has been modified"), ApiError(503, "unavailable")]
)
@pytest.mark.parametrize("part", ["observe", "plan", "write_children", "summarize"])
async def test_a_defect_is_logged_with_one_traceback(part, refuses, caplog, monkeypatch):
    """Whatever becomes of the status that tells of it."""
    cluster, key = Cluster(body()), ("team-a", "magika")
    operator = Operator(cluster, SETTINGS)
    operator.cache.put(BY_NAME["OnnxModel"], cluster.objects["OnnxModel", *key])
    was, broken = getattr(reconcile, part), [True]

    def fails_once(*given):
        if broken.pop() if broken else False:
            raise ZeroDivisionError
        return was(*given)

    monkeypatch.setattr(reconcile, part, fails_once)
    if refuses:
        monkeypatch.setattr(cluster, "apply_status", fails_with(refuses))
    await operator._work(key)
    told = [record for record in caplog.records if record.exc_info]
    assert [record.exc_info[0] for record in told] == [ZeroDivisionError]
    assert told[0].getMessage().startswith("team-a/magika: internal error; retrying in ")
    assert operator.queue.failures(key) == 1


def fails_with(error):
    async def fail(*_):
        raise error

    return fail
