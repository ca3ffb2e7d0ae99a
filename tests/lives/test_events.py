"""What waits says why: Kubernetes' own sentence stands in status, wherever Kubernetes keeps it."""

import pytest

from onnxmodel_operator.cluster.errors import ApiError
from tests.builders import Cluster, body

QUOTA = (
    'Error creating: pods "magika-validate-x" is forbidden: exceeded quota: team, requested: limits.memory=2Gi, '
    "used: limits.memory=7Gi, limited: limits.memory=8Gi"
)


def started(cluster, stage="validate"):
    """The stage's Job was started, and has no pod."""
    job = cluster.jobs()[stage]
    cluster._store({**job, "status": {"startTime": "2026-01-01T00:00:00Z"}})
    return job


@pytest.mark.parametrize(
    ("sentence", "hint"),
    [
        (QUOTA, "Raise the ResourceQuota in the message"),
        (
            'pods "m" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
            "within the namespace's LimitRange",
        ),
        (
            'pods "m" is forbidden: violates PodSecurity "restricted:latest": privileged (container "x" must not set '
            "securityContext.privileged=true)",
            "a webhook must have changed this one",
        ),
        (
            'admission webhook "validate.kyverno.svc-fail" denied the request: images must come from registry.internal',
            "ask its owner",
        ),
        ('pods "m" is forbidden: no PriorityClass with name high was found', "pools.*.priorityClassName"),
        (
            'pods "m" is forbidden: error looking up service account team-a/default: serviceaccount "default" not found',
            "kubectl create serviceaccount default",
        ),
        ("something that no version of Kubernetes says yet", "kubectl -n team-a describe job magika-validate-"),
    ],
)
def test_a_job_without_a_pod_says_what_refuses_it(sentence, hint):
    cluster = Cluster(body())
    cluster.settle()
    cluster.warn(started(cluster), reason="FailedCreate", message=sentence)
    cluster.pass_time(31)
    outcome = cluster.step()
    assert cluster.condition("Reconciling")["reason"] == "NoPod"
    assert sentence in cluster.status()["message"]
    assert sentence in cluster.status()["lastFailure"]["message"]
    assert hint in cluster.status()["lastFailure"]["hint"]
    assert outcome.requeue_seconds == 60, "no watch tells of a newer event"
    cluster.live()


def test_a_claim_that_gets_no_volume_says_why():
    cluster = Cluster(body())
    cluster.settle()
    (claim,) = (item for key, item in cluster.objects.items() if key[0] == "PersistentVolumeClaim")
    cluster._store({**claim, "status": {"phase": "Pending"}})
    cluster.warn(claim, reason="ProvisioningFailed", message='storageclass.storage.k8s.io "fast" not found')
    condition = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "pod has unbound immediate PersistentVolumeClaims.", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    cluster.pod(cluster.jobs()["validate"], phase="Pending", conditions=[condition], container="validate")
    cluster.settle()
    assert cluster.condition("Reconciling")["reason"] == "Unschedulable"
    assert 'storageclass.storage.k8s.io "fast" not found' in cluster.status()["message"]
    assert "artifacts.storageClassName" in cluster.status()["lastFailure"]["hint"]


def test_a_pod_that_does_not_start_on_its_node_says_why_and_a_long_pull_is_no_trouble():
    cluster = Cluster(body())
    cluster.settle()
    state = {"waiting": {"reason": "PodInitializing"}}
    pod = cluster.pod(cluster.jobs()["validate"], phase="Pending", container="validate", state=state)
    assert cluster.step().requeue_seconds == 60
    cluster.pass_time(300)
    cluster.settle()
    assert cluster.condition("Reconciling")["reason"] == "Validating", "an image is large"
    cluster.warn(
        pod,
        reason="FailedAttachVolume",
        message='Multi-Attach error for volume "pvc-1": already exclusively attached to one node',
    )
    cluster.step()
    assert cluster.condition("Reconciling")["reason"] == "PodNotStarted"
    assert "Multi-Attach error" in cluster.status()["message"]
    assert "artifacts.accessMode: ReadWriteMany" in cluster.status()["lastFailure"]["hint"]
    cluster.pass_time(301)
    cluster.settle()
    assert cluster.condition("Reconciling")["reason"] == "Validating", "that was minutes ago, and is warned of no more"


def test_server_pods_that_do_not_start_say_why():
    cluster = Cluster(body())
    cluster.prove()
    waiting = {"waiting": {"reason": "ContainerCreating"}}
    pod = cluster.pod(cluster.deployments()[-1], phase="Pending", state=waiting)
    cluster.pass_time(61)
    cluster.warn(pod, reason="FailedCreatePodSandBox", message="failed to set up sandbox: no more addresses")
    cluster.settle()
    assert cluster.condition("Reconciling")["reason"] == "PodNotStarted"
    assert "no more addresses" in cluster.status()["message"]


def test_events_are_asked_for_only_where_nothing_else_says_why():
    cluster = Cluster(body())
    asked = []
    read = cluster.warnings

    async def warnings(namespace, uid):
        asked.append(uid)
        return await read(namespace, uid)

    cluster.warnings = warnings
    cluster.live()
    assert asked == []
    cluster.edit(optimization={"graphLevel": "Basic"})
    cluster.settle()
    job = started(cluster, "optimize")
    cluster.step()
    assert asked == [], "a Job has a moment for its first pod"
    cluster.pass_time(31)
    cluster.step()
    assert asked == [job["metadata"]["uid"]]


def test_without_the_right_to_read_events_the_rest_goes_on():
    cluster = Cluster(body())
    cluster.settle()
    started(cluster)

    async def warnings(namespace, uid):
        raise ApiError(403, "events is forbidden")

    cluster.warnings = warnings
    cluster.pass_time(31)
    cluster.step()
    assert cluster.condition("Reconciling")["reason"] == "NoPod"
    assert "describe job" in cluster.status()["lastFailure"]["hint"]
