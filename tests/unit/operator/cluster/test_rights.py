"""The chart grants what the operator asks for, and nothing else: each right is used."""

import asyncio
import contextlib
import json

from onnxmodel_operator import names
from onnxmodel_operator.cluster.access import Access
from onnxmodel_operator.cluster.client import Client
from onnxmodel_operator.cluster.lease import Lease
from onnxmodel_operator.controller.process import Operator
from onnxmodel_operator.platform.settings import Artifacts, Autoscalers, Parent, Routes
from tests.builders import SETTINGS, Cluster, body
from tests.rights import needed, rights


class Api:
    """Stands for aiohttp's session: an API server that has nothing, takes everything, and notes what was asked for.

    It streams no list, so that both ways to begin a watch are seen.
    """

    def __init__(self):
        self.asked = set()

    async def request(self, method, url, *, params=None, data=None, **_):
        """An answer to any request."""
        path, sent = url.removeprefix("http://api"), json.loads(data or "{}")
        verb = "watch" if params and params.get("watch") else method
        new = sent.get("metadata", {}).get("resourceVersion") == "1"  # what must not exist yet
        self.asked |= needed(verb, path, 201 if new else 200)
        if "/leases" in path and method == "get":
            return Answer(404, {})
        if params and "sendInitialEvents" in params:
            return Answer(422, {})
        return Answer(200, {**sent, "items": [], "metadata": {**sent.get("metadata", {}), "resourceVersion": "2"}})


class Answer:
    """One without events."""

    reason = ""

    def __init__(self, status, content):
        self.status, self._content, self.content = status, content, self

    async def read(self):
        return json.dumps(self._content).encode()

    async def iter_any(self):
        for chunk in ():
            yield chunk

    def close(self):
        pass


def asks(name):
    """The method of a cluster, which the operator's client is asked first."""

    async def ask(cluster, *arguments):
        await getattr(cluster.client, name)(*arguments)
        return await getattr(Cluster, name)(cluster, *arguments)

    return ask


ROUTED = SETTINGS.model_copy(
    update={"routes": Routes(parent_refs=(Parent(name="g", namespace="infra"),), domain="example.com")}
)


class Asked(Cluster):
    """Does what it is asked after the real client asked the API server for it."""

    def __init__(self, api, *models, platform=ROUTED):
        self.client = Client(Access("http://api"), api)
        super().__init__(*models, platform=platform)


for method in ("apply", "apply_status", "create", "delete", "get", "model", "pods", "warnings"):
    setattr(Asked, method, asks(method))


def lives(api):
    """Turns in which everything is asked for."""
    cluster = Asked(api, body(serving={"replicas": 2}))
    cluster.settle()
    (job,) = cluster.jobs().values()
    cluster._store({**job, "status": {"startTime": "2026-01-01T00:00:00Z"}})
    cluster.pass_time(31)
    cluster.step()  # it has no pod, and an event may say why
    cluster._finish(job, "Complete", "CompletionsReached")
    cluster.step()  # its result is not there, or the watch of pods is late
    cluster.live()
    for key, item in list(cluster.objects.items()):  # another hand takes the labels by which the cache knows them
        if key[0] not in ("OnnxModel", "Pod"):
            kept = {k: v for k, v in item["metadata"]["labels"].items() if k != names.MANAGED_BY}
            cluster._store({**item, "metadata": {**item["metadata"], "labels": kept}})
    cluster.settle()
    cluster.edit(serving={"replicas": 1}, optimization={"graphLevel": "Basic"})
    cluster.live()
    cluster.pass_time(3601)
    cluster.settle()
    s3 = {"bucket": "artifacts", "secretRef": {"name": "keys"}}  # the only reason to delete a volume
    cluster.settings = ROUTED.model_copy(update={"artifacts": Artifacts.model_validate({"store": "s3", "s3": s3})})
    cluster.live()
    cluster.settle()
    for platform in SCALED:
        cluster = Asked(api, body(serving={"autoscaling": {"maxReplicas": 3}}), platform=platform)
        cluster.live()
        cluster.settle()
        key = next(key for key in cluster.objects if key[2] == "magika-autoscaler")
        cluster._store({**cluster.objects[key], "metadata": {**cluster.objects[key]["metadata"], "labels": {}}})
        cluster.settle()
        cluster.edit(serving={})
        cluster.settle()


SCALED = [
    SETTINGS.model_copy(update={"autoscaling": Autoscalers.model_validate(offered)})
    for offered in ({"backend": "KEDA"}, {"backend": "HPA"})
]


async def watches_and_the_lease(api):
    client = Client(Access("http://api"), api)
    operator = Operator(client, ROUTED.model_copy(update={"autoscaling": SCALED[0].autoscaling}))
    running = asyncio.create_task(operator.run())
    for reflector in operator.reflectors:
        await reflector.synced.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    lease = Lease(client, "n", "a")
    await lease.try_acquire()
    await lease.renew()
    await client.create_event("n", {})
    await client.count_event("n", "e", {"count": 2})


def test_the_operator_may_do_what_it_does_and_nothing_else():
    api = Api()
    asyncio.run(watches_and_the_lease(api))
    lives(api)
    granted = {(verb, resource) for resource, verbs in rights().items() for verb in verbs}
    assert sorted(api.asked - granted) == [], "the chart forbids"
    assert sorted(granted - api.asked) == [], "nothing needs"
