"""Why a pod ended, in words and whether another attempt would end the same way."""

import pytest

from onnxmodel_operator.observe.endings import ending_of, ending_of_job, outcome_of, sidecar_of
from onnxmodel_operator.observe.values import Ended
from onnxmodel_runtime.contract.outcome import ExitCode, Failure, Outcome, encode
from onnxmodel_runtime.contract.validate import Finding

AT = "2026-01-01T00:00:00Z"
FAILURE = Failure("OpsetTooLow", "opset is 9", "Export again.")
FINDING = Finding("OpsetTooLow", "error", "model", "opset is 9", "Export again.")
REFUSAL = encode(Outcome("validate", 1.0, failure=FAILURE, findings=(FINDING,)))
EVICTED = [{"type": "DisruptionTarget", "status": "True", "lastTransitionTime": AT}]


def end(code, message="", reason=""):
    """How a container ended, as its status tells it."""
    return {"exitCode": code, "message": message, "reason": reason, "finishedAt": AT}


def pod(*containers, init=(), conditions=(), limit=None, **status):
    """A pod with these containers' statuses."""
    limits = {"limits": {"memory": limit}} if limit else {}
    return {
        "metadata": {"name": "p", "namespace": "team-a"},
        "spec": {"containers": [{"name": "validate", "resources": limits}]},
        "status": {
            "containerStatuses": list(containers),
            "initContainerStatuses": list(init),
            "conditions": list(conditions),
            **status,
        },
    }


def ended(code, message="", reason="", *, name="validate", now="terminated", **container):
    """The status of a container that ended."""
    state = {"state": {"terminated": end(code, message, reason)}}
    if now == "last":
        state = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": state["state"]}
    return {"name": name, **state, **container}


def running(name="validate", **container):
    return {"name": name, "state": {"running": {}}, **container}


@pytest.mark.parametrize(
    ("what", "reason", "message", "terminal"),
    [
        pytest.param(ended(ExitCode.REFUSED, REFUSAL), "OpsetTooLow", "opset is 9", True, id="refused by the stage"),
        pytest.param(ended(ExitCode.RETRY, REFUSAL), "OpsetTooLow", "opset is 9", False, id="to be tried again"),
        pytest.param(
            ended(137, reason="OOMKilled"),
            "OutOfMemory",
            "container validate was killed because it exceeded its memory limit",
            True,
            id="out of memory",
        ),
        pytest.param(ended(137), "Killed", "container validate was killed (SIGKILL) from outside", False, id="killed"),
        pytest.param(
            ended(132), "NativeCrash", "container validate was terminated by SIGILL", True, id="illegal instruction"
        ),
        pytest.param(ended(134), "NativeCrash", "container validate was terminated by SIGABRT", True, id="aborted"),
        pytest.param(ended(135), "NativeCrash", "container validate was terminated by SIGBUS", True, id="bus error"),
        pytest.param(ended(136), "NativeCrash", "container validate was terminated by SIGFPE", True, id="division"),
        pytest.param(
            ended(139), "NativeCrash", "container validate was terminated by SIGSEGV", True, id="segmentation fault"
        ),
        pytest.param(
            ended(1, "E0101 00:00:00 1 main.cc:1] creating server: Internal: failed to bind"),
            "TritonNotStarted",
            "Triton cannot start: failed to bind",
            False,
            id="Triton's log",
        ),
        pytest.param(
            ended(1, "Traceback\nKeyError: 'x'\n"),
            "UnexpectedExit",
            "container validate exited with code 1: KeyError: 'x'",
            False,
            id="died with a log",
        ),
        pytest.param(
            ended(2), "UnexpectedExit", "container validate exited with code 2", False, id="died without a word"
        ),
        pytest.param(
            ended(1, "{}"), "UnexpectedExit", "container validate exited with code 1: {}", False, id="no outcome"
        ),
        pytest.param(
            ended(139, now="last"),
            "NativeCrash",
            "container validate was terminated by SIGSEGV",
            True,
            id="restarted since",
        ),
    ],
)
def test_how_a_container_ended(what, reason, message, terminal):
    found = ending_of(pod(what))
    assert found is not None
    assert (found.failure.reason, found.terminal, found.time) == (reason, terminal, AT)
    assert found.failure.message.startswith(message)
    assert found.failure.hint


@pytest.mark.parametrize(
    "there",
    [
        pytest.param(pod(running()), id="runs"),
        pytest.param(pod(ended(0)), id="succeeded"),
        pytest.param(pod(ended(1, now="last", ready=True, started=True)), id="recovered"),
        pytest.param(pod(), id="no container yet"),
    ],
)
def test_a_pod_that_has_not_failed_has_no_ending(there):
    assert ending_of(there) is None


def test_the_container_that_failed_first_is_told_of():
    found = ending_of(pod(ended(1), init=[ended(139, name="fetch")]))
    assert found is not None
    assert found.failure.message.startswith("container fetch was terminated")


def test_a_refusal_brings_its_findings_and_a_limit_is_named():
    refused = ending_of(pod(ended(ExitCode.REFUSED, REFUSAL)))
    assert refused is not None
    assert refused.findings == (FINDING,)
    killed = ending_of(pod(ended(137, reason="OOMKilled"), limit="1Gi"))
    assert killed is not None
    assert killed.failure.message.endswith("(limit 1Gi)")


@pytest.mark.parametrize("code", [137, 139, ExitCode.REFUSED])
def test_how_a_disrupted_pod_ended_says_nothing_of_the_model(code):
    found = ending_of(pod(ended(code, REFUSAL, "OOMKilled"), conditions=EVICTED))
    assert found is not None
    assert not found.terminal


@pytest.mark.parametrize(
    ("status", "reason", "message", "hint"),
    [
        (
            {"reason": "Evicted", "message": "the node was low on memory"},
            "Evicted",
            "the node was low on memory",
            "No action",
        ),
        ({"reason": "DeadlineExceeded"}, "DeadlineExceeded", "the pod failed", "Raise jobs.attemptSeconds"),
        ({}, "PodFailed", "the pod failed", "No action"),
    ],
)
def test_a_pod_that_failed_without_a_container_is_tried_again(status, reason, message, hint):
    found = ending_of(pod(phase="Failed", conditions=[*EVICTED, {"type": "Ready", "status": "False"}], **status))
    assert found is not None
    assert (found.failure.reason, found.failure.message, found.terminal, found.time) == (reason, message, False, AT)
    assert found.failure.hint.startswith(hint)


def job(**condition):
    return {"metadata": {"name": "j", "namespace": "team-a"}}, {"lastTransitionTime": AT, **condition}


def test_a_job_that_gave_up_says_what_its_last_attempt_said():
    last = Ended(Failure("Killed", "it was killed", "Look."), 137, AT, terminal=False)
    found = ending_of_job(*job(reason="BackoffLimitExceeded"), last=last)
    assert found.failure.message == "it was killed (every attempt failed; there are no more retries)"
    assert (found.failure.reason, found.failure.hint, found.exit_code, found.terminal) == ("Killed", "Look.", 137, True)


@pytest.mark.parametrize(
    ("condition", "reason", "message"),
    [
        ({"reason": "DeadlineExceeded", "message": "it took too long"}, "DeadlineExceeded", "it took too long"),
        ({}, "JobFailed", "the Job failed"),
    ],
)
def test_a_job_that_gave_up_without_an_attempt_says_why_itself(condition, reason, message):
    found = ending_of_job(*job(**condition), last=None)
    assert (found.failure.reason, found.failure.message, found.terminal) == (reason, message, True)
    assert found.failure.hint.endswith("kubectl -n team-a describe job j")


SUCCESS = encode(Outcome("validate", 1.0))


@pytest.mark.parametrize(
    ("pods", "message"),
    [
        pytest.param([pod(ended(0, SUCCESS))], SUCCESS, id="told"),
        pytest.param([pod(ended(1, REFUSAL)), pod(ended(0, SUCCESS))], SUCCESS, id="the second attempt"),
        pytest.param([pod(ended(0, "no outcome"))], None, id="cannot be read"),
        pytest.param([pod(running())], None, id="still runs"),
        pytest.param([], None, id="its pods are gone"),
    ],
)
def test_the_outcome_of_a_stage(pods, message):
    outcome, told = outcome_of(pods)
    assert told == message
    assert (outcome is None) == (message is None)


@pytest.mark.parametrize(
    ("containers", "name"),
    [
        ([ended(0), running("istio-proxy")], "istio-proxy"),
        ([ended(1), running("istio-proxy")], "istio-proxy"),
        ([running(), running("istio-proxy")], ""),
        ([ended(0), ended(0, name="istio-proxy")], ""),
        ([ended(0)], ""),
    ],
)
def test_a_container_that_outlives_the_stage(containers, name):
    assert sidecar_of(pod(*containers), "validate") == name
