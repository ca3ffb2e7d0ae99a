"""A queue's hand on a Job: Kubernetes' own Job controller stops and starts it, and the operator leaves it alone."""

import json
import time

from dev.kube import condition, found, until
from onnxmodel_operator import names
from tests.integration.support import GOOD, SETTINGS, model

QUEUE = {names.LABEL_QUEUE: "team-a"}
DEADLINE = 1


def test_a_job_that_a_queue_suspends_and_admits_is_left_as_the_queue_has_it(kube, start, kubelet):
    """As Kueue does it: it suspends, takes the start back, writes the node selector of a flavor, and resumes."""
    start(settings=f"{SETTINGS}progressDeadlineSeconds: {DEADLINE}\n")
    kube.apply(model({**GOOD, "serving": {"pod": {"labels": QUEUE}}}))
    job = until("a Job", lambda: next(iter(kube.list("jobs", f"{names.LABEL_QUEUE}=team-a")), None))
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    began = time.monotonic()
    kube.patch("job", name, {"spec": {"suspend": True}})
    shown = until("it waits for quota", found(kube, "magika", reason="WaitingForQuota"))
    print(f"WaitingForQuota was seen {time.monotonic() - began:.1f} s after the patch")
    assert shown["status"]["message"] == f"Job {name} is suspended until queue team-a admits it"
    until("its pod is gone", lambda: not kube.list("pods", names.LABEL_STAGE) or None)
    until("the deadline is over", lambda: time.monotonic() - began > DEADLINE + 1 or None)
    assert condition(kube.get("onnxmodel", "magika"), "Stalled") is None
    kube.patch("job", name, {"status": {"startTime": None}}, subresource="status")
    flavor = {"nodeSelector": {"flavor": "spot"}, "tolerations": [{"key": "spot", "operator": "Exists"}]}
    kube.patch("job", name, {"spec": {"template": {"spec": flavor}}})
    kube.patch("job", name, {"spec": {"suspend": False}})
    until(
        "a pod of the flavor",
        lambda: [p for p in kube.list("pods") if p["spec"].get("nodeSelector") == flavor["nodeSelector"]],
    )
    until("the stage is on", found(kube, "magika", reason="Validating"))
    kubelet.succeed("magika", "validate")
    until("the next stage", lambda: kubelet.job("magika", "optimize"))
    job = kube.get("job", name)
    assert (job["metadata"]["uid"], job["spec"]["suspend"]) == (uid, False)
    assert job["spec"]["template"]["spec"]["nodeSelector"] == {"flavor": "spot"}
    told = json.loads(kube.run("get", "job", name, "-o", "json", "--show-managed-fields"))["metadata"]["managedFields"]
    (written,) = [entry for entry in told if entry["manager"] == names.MANAGER]
    assert written["time"] == job["metadata"]["creationTimestamp"], "the operator wrote it once"
