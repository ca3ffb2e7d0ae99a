"""The moments of a model's life: what the cluster and people do, in the order in which it happens."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from onnxmodel_operator.cluster.errors import ApiError
from tests.builders import body
from tests.frozen import results
from tests.frozen.lives import NAME, Life, begin, merged

LONG_AGO = "2026-01-01T00:00:00Z"

Action = Callable[[Life], Any]


def _of(stage: str, act: Callable[[Life, dict[str, Any]], Any]) -> Action:
    """What happens to the stage's Job, where it runs. Its pods of before are gone."""

    def action(life: Life) -> bool:
        job = life.running(stage)
        if job is None:
            return False
        life.remove("Pod", where=lambda pod: pod.get("owner") == job["metadata"]["uid"])
        act(life, life.jobs()[stage])
        return True

    return action


def _succeeds(stage: str, said: str | None = None) -> Action:
    return _of(stage, lambda life, _: life.succeed(stage, message=said))


def _fails(stage: str, code: int, reason: str, *, attempt: bool = False, findings: Any = (), **end: Any) -> Action:
    failure = {
        "reason": reason,
        "message": f"{reason}: what happened",
        "hint": "What to do.",
        "field": "spec.source.uri",
    }
    container = end.pop("container", stage)
    words = results.message(container, failure=failure, findings=findings) if reason else ""

    def act(life: Life, _: dict[str, Any]) -> None:
        given = {"message": words, "container": container, **end}
        if attempt:
            life.attempt_fails(stage, code, **given)
        else:
            life.fail(stage, code, **given)

    return _of(stage, act)


def _runs_again(stage: str) -> Action:
    """A person deletes the stage's Job."""
    return lambda life: life.remove("Job", "Pod", where=lambda item: _stage(item) == stage)


def _stage(item: Mapping[str, Any]) -> str:
    labels = item["metadata"].get("labels", {})
    return str(next((value for key, value in labels.items() if key.endswith("/stage")), ""))


def _no_node(stage: str, why: str) -> Action:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}

    def act(life: Life, job: dict[str, Any]) -> None:
        conditions = [{**condition, "lastTransitionTime": life.now.strftime("%Y-%m-%dT%H:%M:%SZ")}]
        pod_spec = job["spec"]["template"]["spec"]
        life.pod(job, phase="Pending", container=stage, conditions=conditions, spec=pod_spec)

    return _of(stage, act)


def _another_measures(life: Life, job: dict[str, Any]) -> None:
    _no_node("benchmark", "1 node(s) didn't match pod anti-affinity rules.")(life)
    other = copy.deepcopy(job)
    other["metadata"] |= {"name": "other-optimize", "namespace": "team-b", "uid": "uid-other"}
    labels = other["spec"]["template"]["metadata"]["labels"]
    for key in labels:
        labels[key] = "optimize" if key.endswith("/stage") else labels[key]
    life.pod(other, container="optimize", spec={"nodeName": "n1"})


def _serving(**pod: Any) -> Action:
    """The newest revision's pod is in this state, and nothing is available."""

    def action(life: Life) -> bool:
        life.remove("Pod", where=lambda item: not _stage(item))
        new = [item for item in life.deployments() if not item["status"].get("availableReplicas")]
        if not new or not new[-1]["spec"]["replicas"]:
            return False
        life.available(new[-1], replicas=0)
        life.pod(new[-1], **pod)
        return True

    return action


def _rolled_out(life: Life) -> bool:
    life.remove("Pod", where=lambda item: not _stage(item))
    new = [item for item in life.deployments() if item["status"].get("availableReplicas") != item["spec"]["replicas"]]
    for item in new:
        life.available(item)
    return bool(new)


def _away(life: Life) -> bool:
    for item in life.deployments():
        life.available(item, replicas=0)
    return bool(life.deployments())


def _status_lost(life: Life) -> None:
    life._store({**life.objects["OnnxModel", "team-a", NAME], "status": {}})


def _corrected(life: Life) -> bool:
    return "corrected" in life.case and life.change(life.case["corrected"])


def _corrected_when_stalled(life: Life) -> bool:
    return "corrected-when-stalled" in life.case and life.change(life.case["corrected-when-stalled"])


def _changed(life: Life) -> bool:
    """To what is rolled out, and refuted. Its stages run, and its server waits for an answer."""
    life.change(life.case.get("changed", {"optimization": {"graphLevel": "Basic", "variants": ["fp32"]}}))
    return True


def _changed_back(life: Life) -> bool:
    model = life.objects["OnnxModel", "team-a", NAME]
    before = merged(body(NAME)["spec"], life.case["spec"])
    for change in ("corrected", "corrected-when-stalled"):
        before = merged(before, life.case.get(change, {}))
    metadata = {**model["metadata"], "generation": model["metadata"]["generation"] + 1}
    life._store({**model, "metadata": metadata, "spec": before})
    return True


def _finds_no_room(life: Life) -> bool:
    """The new revision's pod waits beside the old one's."""
    while life.case.get("scarce") and len(life.deployments()) < 2:
        life.settle(NAME)
        life.play()
    if not life.case.get("scarce"):
        return False
    life.settle(NAME)
    new = life.deployments()[-1]
    life.available(new, replicas=0)
    since = life.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    why = {"reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."}
    conditions = [{"type": "PodScheduled", "status": "False", "lastTransitionTime": since, **why}]
    life.pod(new, phase="Pending", conditions=conditions)
    return True


def _all_but_the_probe(life: Life) -> bool:
    """Everything goes well until the new revision is to be asked."""
    for _ in range(8):
        life.settle(NAME)
        if life.running("probe"):
            return True
        before = len(life.writes)
        life.play()
        life.settle(NAME)
        if len(life.writes) == before:
            return False
    return False


def _other_runtime(life: Life) -> bool:
    now = life.objects["OnnxModel", "team-a", NAME]["spec"].get("serving", {}).get("runtime")
    return life.change({"serving": {"runtime": "onnxruntime" if now == "triton" else "triton"}})


def _terminated(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return {"exitCode": code, "message": message, "reason": reason, "finishedAt": LONG_AGO}


def _crashed(container: dict[str, Any]) -> dict[str, Any]:
    waits = {"waiting": {"reason": "CrashLoopBackOff"}}
    statuses = [{"name": "server", "image": "runtime:cpu", "state": waits, "lastState": {"terminated": container}}]
    return {"containerStatuses": statuses}


def _refused(kind: str) -> Action:
    def action(life: Life) -> None:
        life.refuses[kind] = ApiError(403, f"{kind} is forbidden: exceeded quota")

    return action


def _leaving(life: Life) -> bool:
    """The volume is deleted, and waits for the pods that use it."""
    for key, item in [*life.objects.items()]:
        if key[0] == "PersistentVolumeClaim":
            life._store({**item, "metadata": {**item["metadata"], "deletionTimestamp": LONG_AGO}})
    return True


def _deleted(life: Life) -> None:
    model = life.objects["OnnxModel", "team-a", NAME]
    life._store({**model, "metadata": {**model["metadata"], "deletionTimestamp": LONG_AGO}})


_FINDINGS = [
    {"id": "opset-too-low", "severity": "error", "target": "", "message": "opset is 9", "fix": "Export it again."},
    {"id": "batch-fixed", "severity": "warning", "target": "x", "message": "x has 1 row", "fix": "Make it dynamic."},
]
_PULLED = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
_OVER = "BackoffLimitExceeded"

MOMENTS: dict[str, Action] = {
    "its volume is refused": lambda life: "volume-refused" in life.case and _refused("PersistentVolumeClaim")(life),
    "its first Job is refused": _refused("Job"),
    "created": lambda life: life.refuses.clear() or True,
    "the operator starts again": lambda life: life.restart() or True,
    "corrected": _corrected,
    "validate waits for a node": _no_node("validate", "0/3 nodes are available: 3 Insufficient cpu."),
    "it waited for too long": lambda life: bool(life.running("validate")) and (life.pass_time(700) or True),
    "a fetch failed, and is tried again": _fails("validate", 11, "SourceUnreachable", attempt=True, container="fetch"),
    "every attempt failed": _fails("validate", 11, "SourceUnreachable", container="fetch", reason_=_OVER),
    "validate runs again": _runs_again("validate"),
    "its result was lost": lambda life: _succeeds("validate")(life) and life.remove("Pod"),
    "its result cannot be read": _succeeds("validate", "onnxmodel/v1:cut sho"),
    "validate runs once more": _runs_again("validate"),
    "its result is another stage's": _succeeds("validate", results.message("probe", {"http_milliseconds": 1})),
    "validate runs for the last time": _runs_again("validate"),
    "refused": _fails("validate", 10, "OpsetTooLow", findings=_FINDINGS),
    "the refused one's pod is gone": lambda life: life.jobs().get("validate") and life.remove("Pod"),
    "the model was exported again": _runs_again("validate"),
    "validated": _succeeds("validate"),
    "optimize needs more memory": lambda life: _fails("optimize", 137, "", reason_="OOMKilled")(life),
    "optimize runs again": _runs_again("optimize"),
    "optimized": _succeeds("optimize"),
    "another model measures": _of("benchmark", _another_measures),
    "benchmark crashes": _fails("benchmark", 139, ""),
    "benchmark runs again": _runs_again("benchmark"),
    "the other model is done": lambda life: life.remove(
        "Pod", where=lambda pod: pod["metadata"]["namespace"] == "team-b"
    ),
    "benchmarked": _succeeds("benchmark"),
    "corrected after the benchmark": _corrected_when_stalled,
    "the server's image is missing": _serving(phase="Pending", state=_PULLED),
    "the image is missing for too long": lambda life: bool(life.deployments()) and (life.pass_time(700) or True),
    "the server was killed": _serving(**_crashed(_terminated(137, "", "OOMKilled"))),
    "the server refuses its model": _serving(
        **_crashed(
            _terminated(
                10,
                results.message(
                    "serve",
                    failure={
                        "reason": "DigestMismatch",
                        "message": "the model is another one",
                        "hint": "Run optimize again.",
                    },
                ),
            )
        )
    ),
    "rolled out": _rolled_out,
    "load test waits for a node": _no_node("loadtest", "0/3 nodes are available: 3 Insufficient memory."),
    "load test finds another answer": _fails("loadtest", 10, "AnswerDiffers"),
    "load test runs again": _runs_again("loadtest"),
    "load tested": _succeeds("loadtest"),
    "probe found no server, and tries again": _fails("probe", 11, "ProbeUnreachable", attempt=True),
    "probed": _succeeds("probe"),
    "the operator starts again in between": lambda life: life.restart() or True,
    "its pods are away": _away,
    "its pods are back": _rolled_out,
    "status lost": _status_lost,
    "what was lost is found again": Life.until_it_rests,
    "changed": _changed,
    "the change finds no room": _finds_no_room,
    "it found none for too long": lambda life: bool(life.case.get("scarce")) and (life.pass_time(700) or True),
    "it was given room": lambda life: bool(life.case.get("scarce")) and _rolled_out(life),
    "the change is rolled out": _all_but_the_probe,
    "the probe got a wrong answer": _fails("probe", 10, "ProbeMismatch"),
    "changed back": lambda life: _changed_back(life) and life.until_it_rests(),
    "another runtime": _other_runtime,
    "the other runtime serves": Life.until_it_rests,
    "logs were kept for long enough": lambda life: life.pass_time(3601) or True,
    "turned off": lambda life: life.change({"serving": {"replicas": 0}}),
    "scaled up": lambda life: life.change({"serving": {"replicas": 2}}) and life.until_it_rests(),
    "suspended, and its server was deleted": lambda life: life.change({"suspend": True}) and life.remove("Deployment"),
    "resumed": lambda life: life.change({"suspend": False}) and life.until_it_rests(),
    "a spec that cannot be worked on": lambda life: life.change({"serving": {"nodePool": "nowhere", "replicas": 3}}),
    "back to the first spec": lambda life: _changed_back(life) and life.until_it_rests(),
    "the Service was deleted": lambda life: life.remove("Service"),
    "the volume is being deleted": _leaving,
    "the volume is gone": lambda life: life.remove("PersistentVolumeClaim", "Deployment", "Pod"),
    "all is made again": Life.until_it_rests,
    "the model is being deleted": _deleted,
}


EVERY_DAY = {
    "its volume is refused",
    "created",
    "corrected",
    "validate waits for a node",
    "a fetch failed, and is tried again",
    "refused",
    "the model was exported again",
    "validated",
    "optimized",
    "benchmarked",
    "corrected after the benchmark",
    "rolled out",
    "load tested",
    "probed",
    "status lost",
    "what was lost is found again",
    "changed",
    "the change finds no room",
    "it found none for too long",
    "it was given room",
    "the change is rolled out",
    "the probe got a wrong answer",
    "the model is being deleted",
}
"""What happens to each model. The rest happens to those whose life is a whole one."""


def live(case: Mapping[str, Any], known: Mapping[str, dict[str, str]]) -> Life:
    """What happens to a model of this case. A moment to which it does not come is left out."""
    life = begin(case, known)
    for name, action in MOMENTS.items():
        if name not in EVERY_DAY and not case.get("whole"):
            continue
        start = len(life.lines)
        happens = action(life)
        if happens is False:
            continue
        inside, life.lines[start:] = life.lines[start:], []
        life.moment(name)
        life.lines[start + 1 : start + 1] = inside
        if case.get("short") and name == "corrected":
            break
    return life
