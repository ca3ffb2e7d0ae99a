"""A canary whose traffic a Gateway divides: what the routes say at each step, and whom no Gateway may ask."""

import copy
from datetime import timedelta
from typing import Any

import pytest

from dev.results import benchmarked
from onnxmodel_operator import names
from onnxmodel_operator.platform.settings import Parent, Routes
from tests.builders import SETTINGS, Cluster, body
from tests.canaries import CANARY, both, change, order, wait

PARENTS = (Parent(name="models", namespace="infra"), Parent(name="edge", namespace="infra", section_name="web"))
ROUTED = SETTINGS.model_copy(update={"routes": Routes(parent_refs=PARENTS, domain="models.example.com")})
KINDS = ("HTTPRoute", "GRPCRoute")
ACCEPTED = [{"type": kind, "status": "True", "reason": kind} for kind in ("Accepted", "ResolvedRefs")]
REFUSED = [{"type": "Accepted", "status": "False", "reason": "NotAllowedByListeners", "message": "not from here"}]


class Routed(Cluster):
    """With Gateways that accept every route. After each write, each route must lead to servers that can answer."""

    answers = True
    """The Gateways say what they think of a route."""

    def _store(self, item: dict[str, Any]) -> None:
        if item["kind"] in KINDS and self.answers and not item["status"]:
            item = {**item, "status": {"parents": [parent(ACCEPTED, **ref.model_dump()) for ref in PARENTS]}}
        super()._store(item)

    def play_a_write(self) -> None:
        for kind in KINDS:
            for name, _ in backends(self, kind) if (kind, "team-a", "magika") in self.objects else ():
                if name != "magika" and not names.revision_of_canary("magika", name):
                    continue
                service = self.objects.get(("Service", "team-a", name))
                assert service, f"a {kind} leads to Service {name}, which is not there"
                revision = service["spec"]["selector"].get(names.LABEL_REVISION)
                if revision and name != "magika":
                    there = [d for d in self.deployments() if d["metadata"]["labels"][names.LABEL_REVISION] == revision]
                    assert there, f"a {kind} leads to revision {revision}, which is not there"
                    assert there[0]["spec"]["replicas"], f"a {kind} leads to revision {revision}, which has no pods"

    async def apply(self, manifest):
        applied = await super().apply(manifest)
        self.play_a_write()
        return applied

    async def delete(self, kind, item):
        await super().delete(kind, item)
        self.play_a_write()


def parent(conditions, *, name, namespace, section_name=""):
    section = {"sectionName": section_name} if section_name else {}
    return {"parentRef": {"name": name, "namespace": namespace, **section}, "conditions": conditions}


def live(rollout: Any = CANARY, **serving: Any) -> Routed:
    cluster = Routed(body(serving={"replicas": 4, **serving}, rollout=rollout), platform=ROUTED)
    cluster.live()
    cluster.settle()
    return cluster


def canary(**serving: Any) -> Routed:
    cluster = live(**serving)
    change(cluster)
    return cluster


def route(cluster: Cluster, kind: str = "HTTPRoute") -> Any:
    return cluster.objects[kind, "team-a", "magika"]


def backends(cluster: Cluster, kind: str = "HTTPRoute") -> list[tuple[str, int]]:
    rules = route(cluster, kind)["spec"]["rules"]
    return [(ref["name"], ref["weight"]) for rule in rules for ref in rule["backendRefs"] if ref["kind"] == "Service"]


def says(cluster: Cluster, conditions: list[dict[str, str]], kind: str = "HTTPRoute") -> None:
    """Every parent's Gateway says this of the route."""
    parents = [parent(conditions, **ref.model_dump()) for ref in PARENTS]
    cluster._store({**route(cluster, kind), "status": {"parents": parents}})
    cluster.settle()


def replicas(cluster: Cluster) -> list[int]:
    return [deployment["spec"]["replicas"] for deployment in cluster.deployments()]


def selected(cluster: Cluster, service: str = "magika") -> Any:
    return cluster.objects["Service", "team-a", service]["spec"]["selector"].get(names.LABEL_REVISION)


def test_a_model_without_a_gateway_has_no_route():
    cluster = Cluster(body(rollout=CANARY))
    cluster.live()
    assert not {kind for kind, _, _ in cluster.objects} & {*KINDS}
    assert cluster.condition("RouteAccepted") is None


def test_a_model_that_serves_has_a_route_of_each_kind():
    cluster = live()
    assert [backends(cluster, kind) for kind in KINDS] == [[("magika", 100)]] * 2
    assert [route(cluster, kind)["spec"]["hostnames"] for kind in KINDS] == [
        ["magika.team-a.models.example.com"],
        ["magika.team-a.grpc.models.example.com"],
    ], "two kinds with one hostname may not share a listener"
    assert [ref["port"] for kind in KINDS for ref in route(cluster, kind)["spec"]["rules"][0]["backendRefs"]] == [
        8000,
        8001,
    ]
    assert [ref.get("sectionName") for ref in route(cluster)["spec"]["parentRefs"]] == [None, "web"]
    assert route(cluster)["metadata"]["ownerReferences"][0]["name"] == "magika"
    assert cluster.condition("RouteAccepted")["status"] == "True"
    assert cluster.status()["reason"] == "Ready"


def test_no_route_is_made_before_a_revision_serves():
    cluster = Routed(body(), platform=ROUTED)
    cluster.prove()
    assert "HTTPRoute" not in {kind for kind, _, _ in cluster.objects}
    assert (cluster.condition("RouteAccepted")["status"], cluster.condition("RouteAccepted")["reason"]) == (
        "Unknown",
        "RoutePending",
    )


def test_each_step_changes_weights_and_no_service():
    cluster = canary()
    old, new = both(cluster)
    second = names.canary_service("magika", new)
    for kind in KINDS:
        assert backends(cluster, kind) == [("magika", 90), (second, 10)]
    assert (selected(cluster), selected(cluster, second)) == (old, new)
    rollout = cluster.status()["rollout"]
    assert (rollout["backend"], rollout["step"], rollout["weight"]) == ("Route", 1, 10)
    assert [(share["revision"], share["wanted"]) for share in cluster.status()["traffic"]] == [(old, 90), (new, 10)]
    assert replicas(cluster) == [4, 1]
    wait(cluster, 60)
    assert replicas(cluster) == [4, 2], "as many pods as its share needs; beside the old ones it would take 4"
    assert backends(cluster) == [("magika", 50), (second, 50)]
    wait(cluster, 10_000)
    assert backends(cluster) == [("magika", 50), (second, 50)]


def test_name_and_hostname_stay_the_same_through_promotion():
    """kserve #5912."""
    cluster = canary()
    _, new = both(cluster)
    before = {
        kind: (route(cluster, kind)["metadata"]["uid"], route(cluster, kind)["spec"]["hostnames"]) for kind in KINDS
    }
    for turn in range(12):
        order(cluster, names.PROMOTE, str(turn))
        wait(cluster, 30)
        if selected(cluster) == new:
            break
    assert backends(cluster) == [("magika", 100)], "all of it, before the probe asks"
    assert selected(cluster) == new
    cluster.succeed("probe")
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "True"
    after = {
        kind: (route(cluster, kind)["metadata"]["uid"], route(cluster, kind)["spec"]["hostnames"]) for kind in KINDS
    }
    assert after == before
    wait(cluster, 6)
    assert cluster.services() == ["magika"]
    assert replicas(cluster) == [4]


def test_a_canary_leaves_no_mark_on_a_route():
    """A GitOps tool would see it as drift for ever. gatewayapi plugin #208."""
    cluster = live()
    before = {kind: copy.deepcopy(route(cluster, kind)["metadata"]) for kind in KINDS}
    change(cluster)
    for kind in KINDS:
        now = route(cluster, kind)["metadata"]
        assert now["labels"] == before[kind]["labels"]
        assert now["annotations"].keys() == before[kind]["annotations"].keys() == {names.ANNOTATION_APPLIED}
    order(cluster, names.ABORT)
    assert {kind: route(cluster, kind)["metadata"]["annotations"] for kind in KINDS} == {
        kind: before[kind]["annotations"] for kind in KINDS
    }


def test_a_revision_without_a_ready_pod_has_no_weight():
    """kserve #5983: a Gateway answers 503 for it. And a weight of 0 that is raised breaks connections (Envoy)."""
    cluster = live()
    seen = []
    for _ in range(2):
        change(cluster)
        seen += [weight for _, weight in backends(cluster)]
        cluster.available(cluster.deployments()[1], replicas=0)
        cluster.settle()
        assert backends(cluster) == [("magika", 100)]
        assert "traffic" not in cluster.status()
        cluster.available(cluster.deployments()[1])
        cluster.settle()
        assert len(backends(cluster)) == 2
        order(cluster, names.ABORT)
        order(cluster, names.RETRY)
        cluster.play()
    assert min(seen) >= 1


def test_pods_that_were_ready_a_moment_ago_have_no_weight_yet():
    """A Gateway hears of them through EndpointSlices, perhaps after it hears of the route."""
    cluster = live()
    cluster.edit(optimization={"graphLevel": "Basic"})
    cluster.settle()
    cluster.succeed("optimize")
    cluster.settle()
    cluster.succeed("benchmark", result=benchmarked(original=1.0, fp32=2.0))
    cluster.settle()
    since = cluster.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    known = [{"type": "Available", "status": "True", "lastTransitionTime": since}]
    cluster.available(conditions=known)
    cluster.settle()
    cluster.succeed("loadtest")
    cluster.settle()
    assert backends(cluster) == [("magika", 100)]
    wait(cluster, 3)
    assert len(backends(cluster)) == 2


def available(cluster: Cluster, status: str | None, seconds: float | None) -> None:
    """A pod of the newest revision can answer. Its condition has this status since so many seconds ago, if it is told."""
    since = (cluster.now - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds is not None else None
    told = {"type": "Available", "status": status, "lastTransitionTime": since}
    cluster.available(conditions=[told] if status else [])
    cluster.settle()


@pytest.mark.parametrize(
    ("status", "seconds", "pause"),
    [("True", 1, 2), ("True", -1, 3), ("True", -30, 32), ("False", 60, None), ("True", None, 0), (None, None, 0)],
)
def test_pods_that_come_back_have_no_weight_before_the_gateways_know_them(status, seconds, pause):
    """A Deployment tells that a pod is available before it tells that enough are."""
    cluster = canary()
    cluster.available(cluster.deployments()[1], replicas=0)
    cluster.settle()
    assert backends(cluster) == [("magika", 100)]
    cluster.pass_time(5)  # since it was made, from which it counts where Kubernetes does not say it
    available(cluster, status, seconds)
    if pause != 0:
        assert backends(cluster) == [("magika", 100)]
        assert 0 < (cluster.step().requeue_seconds or 0) <= 2, "it looks again soon"
    if pause is None:
        available(cluster, "True", 3)
    elif pause:
        cluster.pass_time(pause)
        cluster.settle()
    assert len(backends(cluster)) == 2


def test_a_clock_that_is_far_behind_holds_no_canary_up():
    cluster = canary()
    cluster.available(cluster.deployments()[1], replicas=0)
    cluster.settle()
    available(cluster, "True", -3600)
    assert len(backends(cluster)) == 2


def test_the_old_revision_has_all_its_replicas_when_the_weights_go_back():
    """argo-rollouts #4612: what was sized for 5 percent got 70."""
    cluster = canary()
    old, new = both(cluster)
    wait(cluster, 60)
    assert replicas(cluster) == [4, 2]
    before = len(cluster.writes)
    order(cluster, names.ABORT)
    assert backends(cluster) == [("magika", 100)]
    assert (selected(cluster), replicas(cluster)) == (old, [4, 2]), "a Gateway may still send requests there"
    wait(cluster, 6)
    assert replicas(cluster) == [4, 0]
    done = [(kind, name) for _, kind, name in cluster.writes[before:]]
    scaled = done.index(("Deployment", names.child("magika", new)))
    assert max(done.index((kind, "magika")) for kind in KINDS) < scaled, "the weights first, then the pods"
    assert cluster.condition("Stalled")["reason"] == "RolloutAborted"
    order(cluster, names.RETRY)
    wait(cluster, 1)
    assert [weight for _, weight in backends(cluster)] == [90, 10]


def test_an_abort_waits_where_the_old_revision_has_no_pods():
    cluster = canary()
    cluster.available(cluster.deployments()[0], replicas=0)
    cluster.settle()
    old, new = both(cluster)
    alone = [(names.canary_service("magika", new), 10)]
    assert backends(cluster) == alone, "better the new one than none"
    order(cluster, names.ABORT)
    assert (backends(cluster), cluster.status()["reason"]) == (alone, "RollingBack")
    cluster.available(cluster.deployments()[0])
    cluster.settle()
    assert (backends(cluster), selected(cluster)) == ([("magika", 100)], old)
    assert cluster.condition("Stalled")["reason"] == "RolloutAborted"


def test_a_change_in_the_middle_goes_back_to_the_old_revision():
    cluster = canary()
    old, new = both(cluster)
    cluster.edit(optimization={"graphLevel": "Extended"})
    cluster.settle()
    assert (selected(cluster), backends(cluster)) == (old, [("magika", 100)])
    wait(cluster, 6)
    assert names.child("magika", new) not in [d["metadata"]["name"] for d in cluster.deployments()]
    assert cluster.services() == ["magika"]


@pytest.mark.parametrize("level", ["Extended", "All"])
@pytest.mark.parametrize("forgets", [False, True])
def test_what_a_route_led_to_stays_until_the_gateways_know_that_it_no_longer_does(level, forgets):
    """Another change in the middle of a canary, or back to what serves. A Gateway hears of each object in its own time."""
    cluster = canary()
    _, new = both(cluster)
    before = len(cluster.writes)
    cluster.edit(optimization={"graphLevel": level})
    cluster.settle()
    assert backends(cluster) == [("magika", 100)]
    assert (cluster.condition("Ready")["status"] == "True") == (level == "All")
    for seconds in (0, 2, 2):
        cluster.pass_time(seconds)
        if forgets:
            cluster.restart()
        cluster.settle()
        assert not [kind for verb, kind, _ in cluster.writes[before:] if verb == "delete" and kind != "Job"]
    child = cluster.objects["Deployment", "team-a", names.child("magika", new)]
    assert child["spec"]["replicas"] == 1, "it can answer"
    assert 0 < (cluster.step().requeue_seconds or 0) <= 1
    cluster.pass_time(1)
    cluster.settle()
    gone = [(kind, name) for verb, kind, name in cluster.writes[before:] if verb == "delete" and kind != "Job"]
    assert {("Deployment", names.child("magika", new)), ("Service", names.canary_service("magika", new))} <= {*gone}


def test_a_clock_that_is_far_behind_keeps_nothing_that_is_over():
    cluster = canary()
    _, new = both(cluster)
    cluster.edit(optimization={"graphLevel": "Extended"})
    cluster.settle()
    cluster.pass_time(-3600)
    cluster.settle()
    assert names.canary_service("magika", new) not in cluster.services()


def test_suspend_goes_back_to_the_old_revision():
    cluster = canary()
    old, new = both(cluster)
    child = "Deployment", "team-a", names.child("magika", new)
    cluster.edit(suspend=True)
    cluster.settle()
    assert (selected(cluster), backends(cluster)) == (old, [("magika", 100)])
    assert child in cluster.objects, "a Gateway may still lead to it"
    cluster.pass_time(cluster.step().requeue_seconds or 0)
    cluster.settle()
    assert child not in cluster.objects, "connections outlive routes"


def test_a_route_that_no_gateway_accepts_is_seen_and_what_serves_goes_on():
    cluster = live()
    says(cluster, REFUSED)
    accepted = cluster.condition("RouteAccepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "RouteNotAccepted")
    said = "HTTPRoute magika is not accepted by Gateway infra/models: NotAllowedByListeners: not from here"
    assert accepted["message"] == said
    assert cluster.status()["reason"] == "RouteNotAccepted"
    assert cluster.status()["message"].startswith(said)
    assert cluster.condition("Ready")["status"] == cluster.condition("Available")["status"] == "True"
    says(cluster, ACCEPTED)
    assert (cluster.status()["reason"], cluster.condition("RouteAccepted")["status"]) == ("Ready", "True")


@pytest.mark.parametrize(("conditions", "reason"), [(REFUSED, "RouteNotAccepted"), ([], "RoutePending")])
def test_a_canary_waits_for_a_route_that_is_accepted(conditions, reason):
    cluster = live()
    says(cluster, conditions, "GRPCRoute")
    change(cluster)
    assert backends(cluster) == [("magika", 100)]
    assert cluster.status()["reason"] == reason
    assert cluster.status()["message"].startswith("the canary waits: GRPCRoute magika ")
    wait(cluster, 120)
    assert cluster.status()["rollout"]["step"] == 1
    says(cluster, ACCEPTED, "GRPCRoute")
    assert [weight for _, weight in backends(cluster)] == [90, 10]


def test_a_person_may_promote_without_a_gateway():
    cluster = live()
    says(cluster, REFUSED)
    change(cluster)
    _, new = both(cluster)
    for turn in range(12):
        order(cluster, names.PROMOTE, str(turn))
        wait(cluster, 30)
    assert cluster.condition("Ready")["status"] == "True"
    assert cluster.status()["active"]["revision"] == new


def test_a_gateway_that_does_not_answer_is_missed_after_the_progress_deadline():
    cluster = Routed(body(), platform=ROUTED)
    cluster.answers = False
    cluster.live()
    cluster.settle()
    assert cluster.condition("RouteAccepted")["reason"] == "RoutePending"
    again = cluster.step().requeue_seconds
    assert again
    assert 0 < again <= ROUTED.progress_deadline_seconds
    cluster.pass_time(again)
    cluster.settle()
    said = "HTTPRoute magika has no answer of Gateway infra/models: is there such a Gateway?"
    assert cluster.condition("RouteAccepted")["message"] == said
    assert cluster.condition("Ready")["status"] == "True"


def test_a_cluster_without_gateway_api_says_so_and_serves():
    cluster = Routed(body(serving={"replicas": 4}, rollout=CANARY), platform=ROUTED)
    cluster.cache.missing.update(KINDS)
    cluster.live()
    cluster.settle()
    said = "the cluster has no kind HTTPRoute: install the CRDs of Gateway API (gateway.networking.k8s.io/v1)"
    assert cluster.condition("RouteAccepted")["message"] == said
    assert (cluster.status()["reason"], cluster.condition("Ready")["status"]) == ("RouteNotAccepted", "True")
    cluster.cache.missing.clear()
    cluster.cache.notes.clear()
    cluster.settle()
    assert backends(cluster) == [("magika", 100)]


def test_backends_and_rules_of_others_are_left_alone():
    """Rules are one value for server-side apply. gatewayapi plugin #203."""
    cluster = live()
    other = {"group": "", "kind": "Service", "name": "fallback", "port": 80, "weight": 3}
    elsewhere = {"group": "", "kind": "Service", "name": "magika", "namespace": "other", "port": 80, "weight": 1}
    page = {"matches": [{"path": {"type": "Exact", "value": "/about"}}], "backendRefs": [other]}
    there = copy.deepcopy(route(cluster))
    there["spec"]["rules"][0]["backendRefs"] += [other, elsewhere]
    there["spec"]["rules"][0]["timeouts"] = {"request": "10s"}
    there["spec"]["rules"].append(page)
    cluster._store(there)
    cluster.settle()
    assert route(cluster)["spec"]["rules"] == there["spec"]["rules"]
    change(cluster)
    rule, last = route(cluster)["spec"]["rules"]
    assert [(ref["name"], ref.get("namespace"), ref["weight"]) for ref in rule["backendRefs"]] == [
        ("magika", None, 90),
        (names.canary_service("magika", both(cluster)[1]), None, 10),
        ("fallback", None, 3),
        ("magika", "other", 1),
    ]
    assert (rule["timeouts"], last) == ({"request": "10s"}, page)
    order(cluster, names.ABORT)
    assert [ref["name"] for ref in route(cluster)["spec"]["rules"][0]["backendRefs"]] == [
        "magika",
        "fallback",
        "magika",
    ]


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_each_rule_that_leads_to_the_model_has_its_backends(kind, at):
    """A rule without backends answers 500 (Gateway API), and one that leads elsewhere than the other defeats a canary."""
    cluster = live()
    there = copy.deepcopy(route(cluster, kind))
    (everything,) = there["spec"]["rules"]
    match = {"path": {"type": "Exact", "value": "/v2/health/ready"}} if kind == "HTTPRoute" else {"headers": []}
    added = {"matches": [match], "backendRefs": copy.deepcopy(everything["backendRefs"])}
    there["spec"]["rules"].insert(at, added)
    cluster._store(there)
    cluster.settle()
    change(cluster)
    second = names.canary_service("magika", both(cluster)[1])
    for step in ([("magika", 90), (second, 10)], [("magika", 100)]):
        rules = route(cluster, kind)["spec"]["rules"]
        assert [[(ref["name"], ref["weight"]) for ref in rule["backendRefs"]] for rule in rules] == [step, step]
        assert rules[at]["matches"] == [match]
        order(cluster, names.ABORT)


def test_a_route_whose_rules_lead_elsewhere_gets_one_for_all_requests():
    cluster = live()
    there = copy.deepcopy(route(cluster))
    there["spec"]["rules"][0]["backendRefs"][0]["name"] = "fallback"
    cluster._store(there)
    cluster.settle()
    assert backends(cluster) == [("magika", 100), ("fallback", 100)]
    assert len(route(cluster)["spec"]["rules"]) == 2


def test_a_route_that_somebody_deletes_or_edits_comes_back():
    cluster = live()
    del cluster.objects["GRPCRoute", "team-a", "magika"]
    edited = copy.deepcopy(route(cluster))
    edited["spec"]["rules"][0]["backendRefs"][0]["weight"] = 1
    edited["spec"]["hostnames"] = ["other.example.com"]
    cluster._store(edited)
    cluster.settle()
    assert [backends(cluster, kind) for kind in KINDS] == [[("magika", 100)]] * 2
    assert route(cluster)["spec"]["hostnames"] == ["magika.team-a.models.example.com"]


def test_a_long_name_has_a_service_of_its_own():
    service = names.canary_service("m" * 63, "0123abcd")
    assert len(service) <= 63
    assert names.revision_of_canary("m" * 63, service) == "0123abcd"
    assert names.revision_of_canary("magika", names.canary_service("magika", "0123abcd")) == "0123abcd"
    for other in ("magika", "magika-canary", "magika-0123abcd", "magika-x-0123abcd-canary", service):
        assert names.revision_of_canary("magika", other) == ""
