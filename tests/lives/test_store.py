"""A model's life when the platform chooses another place for artifacts, and when that is away."""

import json

from dev.results import good
from onnxmodel_operator import names
from onnxmodel_operator.platform import settings
from onnxmodel_runtime.contract.outcome import ExitCode, Failure, Outcome, encode
from tests.builders import SETTINGS, Cluster, body

AWAY = Failure("StoreUnavailable", "the artifact store does not answer", "It is retried.", "settings.artifacts.s3")


def with_bucket(bucket="artifacts", **s3):
    s3 = {"bucket": bucket, "secretRef": {"name": "artifact-store"}, **s3}
    data = SETTINGS.model_dump(mode="json", by_alias=True)
    return settings.parse({**data, "artifacts": {"store": "s3", "s3": s3}})


def with_registry(repository="registry.example.com/artifacts", **oci):
    oci = {"repository": repository, "secretRef": {"name": "artifact-registry"}, **oci}
    data = SETTINGS.model_dump(mode="json", by_alias=True)
    return settings.parse({**data, "artifacts": {"store": "oci", "oci": oci}})


def claims(cluster):
    return [name for kind, _, name in cluster.objects if kind == "PersistentVolumeClaim"]


def revisions(cluster):
    return [item["metadata"]["labels"][names.LABEL_REVISION] for item in cluster.deployments()]


def moved(cluster, platform):
    """Every stage runs again. Until the new revision is proven, the old one serves, with all that it mounts. Returns both."""
    cluster.live()
    old, jobs, volumes = cluster.routed(), set(revisions(cluster)), claims(cluster)
    cluster.settings = platform
    ran = set()
    for _ in range(12):
        cluster.settle()
        if cluster.status()["active"]["revision"] != old:
            break
        assert old in revisions(cluster)
        assert set(volumes) <= set(claims(cluster))
        running = {stage for stage, job in cluster.jobs().items() if not job["status"].get("conditions")}
        # The Service turns to the new revision when all its pods are available: from there the probe asks it.
        assert cluster.routed() == old or running == {"probe"}
        ran |= running
        cluster.play()
    assert ran == {"validate", "optimize", "benchmark", "loadtest", "probe"}
    cluster.live()
    return jobs, set(revisions(cluster))


def test_from_a_volume_to_a_bucket_no_request_is_lost_and_the_volume_goes_last():
    cluster = Cluster(body())
    before, after = moved(cluster, with_bucket())
    assert not before & after
    cluster.settle()
    assert claims(cluster) == []
    deleted = [(kind, name) for verb, kind, name in cluster.writes if verb == "delete" and kind != "Job"]
    assert [kind for kind, _ in deleted][-1] == "PersistentVolumeClaim"


def test_and_back():
    cluster = Cluster(body(), platform=with_bucket())
    before, after = moved(cluster, SETTINGS)
    assert not before & after
    assert claims(cluster) == ["magika-artifacts"]


def test_from_a_volume_to_a_registry_and_on_to_a_bucket():
    cluster = Cluster(body())
    first, second = moved(cluster, with_registry())
    cluster.settle()
    assert claims(cluster) == []
    _, third = moved(cluster, with_bucket())
    assert not first & second
    assert not second & third


def test_another_repository_is_another_place_and_another_secret_is_not():
    cluster = Cluster(body(retain=True), platform=with_registry())
    cluster.live()
    first = revisions(cluster)
    cluster.settings = with_registry(insecure=True, secretRef={"name": "rotated"})
    cluster.live()
    assert revisions(cluster) == first
    (pull,) = cluster.deployments()[-1]["spec"]["template"]["spec"]["initContainers"]
    assert pull["envFrom"][0]["secretRef"] == {"name": "rotated"}
    assert json.loads(pull["args"][2])["registry"]["insecure"] is True
    before, after = moved(cluster, with_registry("registry.example.com/elsewhere"))
    assert not before & after


def test_another_bucket_is_another_place_and_other_keys_are_not():
    cluster = Cluster(body(), platform=with_bucket())
    cluster.live()
    first = revisions(cluster)
    cluster.settings = with_bucket(region="eu-west-1", secretRef={"name": "rotated"})
    cluster.live()
    assert revisions(cluster) == first
    before, after = moved(cluster, with_bucket("elsewhere"))
    assert not before & after


def test_a_volume_stays_while_a_suspended_model_may_need_it():
    cluster = Cluster(body())
    cluster.live()
    cluster.settings = with_bucket()
    cluster.edit(suspend=True)
    cluster.settle()
    assert claims(cluster) == ["magika-artifacts"]
    assert cluster.routed() in revisions(cluster)


def test_a_store_that_is_away_is_in_status_and_what_serves_goes_on():
    cluster = Cluster(body(), platform=with_bucket())
    cluster.live()
    old = cluster.routed()
    cluster.edit(optimization={"variants": ["fused"]})
    cluster.settle()
    cluster.attempt_fails("optimize", ExitCode.RETRY, failure=AWAY, container="pull")
    cluster.settle()
    status = cluster.status()
    assert status["lastFailure"]["reason"] == "StoreUnavailable"
    assert "attempt 1 failed and is retried: the artifact store does not answer" in status["message"]
    assert cluster.condition("Available")["status"] == "True"
    assert cluster.condition("Reconciling")["status"] == "True"
    assert cluster.routed() == old
    cluster.live()
    assert "lastFailure" not in cluster.status()


def test_retain_goes_to_the_bucket_with_what_is_pushed_and_needs_one():
    cluster = Cluster(body(retain=True), platform=with_bucket())
    cluster.settle()
    (push,) = cluster.jobs()["validate"]["spec"]["template"]["spec"]["containers"]
    assert json.loads(push["args"][2])["retain"] is True
    cluster = Cluster(body(retain=True))
    cluster.settle()
    assert cluster.status()["lastFailure"]["reason"] == "InvalidSpec"
    assert "reclaim policy" in cluster.status()["lastFailure"]["message"]
    assert claims(cluster) == []


def test_a_result_counts_only_when_it_is_stored():
    """The stage ended well, and the container that stores what it made did not: nothing can be built on it."""
    cluster = Cluster(body(), platform=with_bucket())
    cluster.reach("optimize")
    job = cluster.jobs()["optimize"]
    end = {"exitCode": 0, "message": encode(Outcome("optimize", 1.0, good(job))), "finishedAt": "2026-01-01T00:00:00Z"}
    told = encode(Outcome("push", 900.0, failure=AWAY, retry=True))
    failed = {"exitCode": int(ExitCode.RETRY), "message": told, "finishedAt": "2026-01-01T00:15:00Z"}
    main = [{"name": "push", "image": "runtime:cpu", "state": {"terminated": failed}}]
    cluster.pod(job, phase="Failed", container="optimize", init=True, state={"terminated": end}, containerStatuses=main)
    cluster.settle()
    assert cluster.status()["lastFailure"]["reason"] == "StoreUnavailable"
    assert "benchmark" not in cluster.jobs()
    cluster.live()
