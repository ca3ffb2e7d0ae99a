"""A queue such as Kueue suspends Jobs as they are made, admits them later, and takes back what it gave."""

from tests.builders import SETTINGS, Cluster, body

QUEUE = {"kueue.x-k8s.io/queue-name": "team-a"}


def suspends(manifest):
    """What the queue's webhook makes of a Job."""
    if manifest["kind"] != "Job":
        return manifest
    return {**manifest, "spec": {**manifest["spec"], "suspend": True}}


def held(cluster, stage="validate"):
    """The Job of a stage, which must wait for the queue."""
    progress = cluster.condition("Reconciling")
    assert progress["reason"] == "WaitingForQuota"
    assert cluster.condition("Stalled") is None
    assert "until queue team-a admits it" in progress["message"]
    return cluster.jobs()[stage]


def change(cluster, job, *, suspend, **template):
    """The queue writes the Job."""
    spec = {**job["spec"], "suspend": suspend}
    spec["template"] = {**spec["template"], "spec": {**spec["template"]["spec"], **template}}
    cluster._store({**job, "spec": spec, "status": {"failed": 0}})


def test_a_suspended_job_waits_for_quota_however_long_and_goes_on_as_it_is():
    cluster = Cluster(body(serving={"pod": {"labels": QUEUE}}))
    cluster.webhook = suspends
    cluster.settle()
    job = held(cluster)
    assert job["metadata"]["labels"].items() >= QUEUE.items()
    cluster.pass_time(100 * SETTINGS.progress_deadline_seconds)
    assert cluster.settle() == []
    held(cluster)
    change(cluster, job, suspend=False, nodeSelector={"flavor": "spot"}, tolerations=[{"operator": "Exists"}])
    before = cluster.jobs()["validate"]
    cluster.settle()
    assert cluster.condition("Reconciling")["reason"] == "Validating"
    assert cluster.jobs()["validate"]["spec"] == before["spec"]
    cluster.succeed("validate")
    cluster.settle()
    held(cluster, "optimize")


def test_a_job_that_is_suspended_again_waits_again_and_is_not_replaced():
    cluster = Cluster(body(serving={"pod": {"labels": QUEUE}}))
    cluster.settle()
    job = cluster.jobs()["validate"]
    cluster.pod(job, container="validate")
    cluster.settle()
    change(cluster, job, suspend=True)
    assert {verb for verb, _, _ in cluster.settle()} == {"status"}
    assert held(cluster)["metadata"]["uid"] == job["metadata"]["uid"]


def test_another_queue_is_for_the_jobs_to_come():
    cluster = Cluster(body(serving={"pod": {"labels": QUEUE}}))
    cluster.live()
    revision, jobs = cluster.routed(), dict(cluster.jobs())
    cluster.edit(serving={"pod": {"labels": {"kueue.x-k8s.io/queue-name": "team-b"}}})
    assert {(verb, kind) for verb, kind, _ in cluster.settle()} == {("status", "OnnxModel")}
    assert cluster.routed() == revision
    assert {job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] for job in cluster.jobs().values()} == {"team-a"}
    assert cluster.jobs() == jobs
