"""The operator as a process on a real API server: what it makes, says, survives and leaves alone."""

import signal
import subprocess
import time
import urllib.request

import pytest

from dev.kube import condition, found, is_true, until
from dev.ports import reserved
from onnxmodel_operator import names
from onnxmodel_operator.cluster.access import from_kubeconfig
from onnxmodel_operator.cluster.client import connect
from onnxmodel_operator.cluster.errors import StaleError
from onnxmodel_operator.cluster.kinds import ALL
from onnxmodel_runtime.contract.outcome import ExitCode, Failure
from tests.faults.proxy import Fault
from tests.integration.support import GOOD, model
from tests.metricstable import documented_metrics, shown_metrics
from tests.stages import SERVED, UNSERVED


def test_from_applied_to_ready_and_kubectl_wait_does_not_lie(kube, operator, kubelet):
    kube.apply(model(GOOD))
    waiting = subprocess.Popen(
        [kube.kubectl, "-n", kube.namespace, "wait", "--for=condition=Ready", "onnxmodel/magika", "--timeout=60s"],
        env=kube.environment(),
        stdout=subprocess.DEVNULL,
    )
    until("a Job", lambda: kube.list("jobs"))
    lose(kube, names.MANAGED_BY, "jobs")
    lose(kube, names.LABEL_MODEL, "persistentvolumeclaims")
    for stage in UNSERVED:
        kubelet.succeed("magika", stage)
    kubelet.available("magika")
    until("a Service for the load test", lambda: len(kube.list("services")) == 1)
    assert kube.list("services", f"{names.LABEL_MODEL}=magika")[0]["metadata"]["name"] != "magika"
    kubelet.succeed("magika", "loadtest")
    until("the Service", lambda: kube.get("service", "magika"))
    until("no other", lambda: len(kube.list("services")) == 1)
    time.sleep(1)
    assert waiting.poll() is None, "no inference through the Service yet"
    kubelet.succeed("magika", "probe")
    assert waiting.wait(30) == 0
    shown = kube.get("onnxmodel", "magika")
    assert shown["status"]["observedGeneration"] == shown["metadata"]["generation"]
    assert [s["state"] for s in shown["status"]["stages"]] == ["Succeeded"] * 5
    row = kube.run("get", "onnxmodels").splitlines()[1].split()
    assert row[:9] == ["magika", "True", "Ready", "onnxruntime", "CPU", "fp32", "5ms", "800/s", "1/1"]
    assert (
        kube.get("service", "magika")["spec"]["selector"][names.LABEL_REVISION] == shown["status"]["active"]["revision"]
    )
    lose(kube, names.LABEL_MODEL, "deployments")
    lose(kube, names.MANAGED_BY, "controllerrevisions")


def lose(kube, label, kind):
    """Another hand takes the label of the only object of the kind, and it comes back."""
    (before,) = kube.list(kind)
    kube.run("label", kind, before["metadata"]["name"], f"{label}-")
    until("the label", lambda: label in kube.list(kind)[0]["metadata"]["labels"])
    (after,) = kube.list(kind)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after.get("spec") == before.get("spec")
    assert after["metadata"]["labels"] == before["metadata"]["labels"]


def test_ready_is_taken_back_when_the_pods_die(kube, operator, kubelet):
    kube.apply(model(GOOD))
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"))
    kubelet.die("magika")
    shown = until("Ready is False", lambda: not is_true(m := kube.get("onnxmodel", "magika"), "Ready") and m)
    assert is_true(shown, "Reconciling")
    assert not is_true(shown, "Available")
    kubelet.available("magika")
    until("Ready", found(kube, "magika", true="Ready"))


def test_deleting_a_model_removes_all_that_it_had(kube, operator, kubelet):
    kube.apply(model(GOOD))
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"))
    kube.delete("onnxmodel", "magika")
    kinds = "jobs,deployments,services,pods,persistentvolumeclaims,controllerrevisions,poddisruptionbudgets"
    # pvc-protection waits for pods that a kubelet would end.
    kube.run("delete", "pods", "--all", "--grace-period=0", "--force")
    until("nothing is left", lambda: not kube.list(kinds, names.SELECTOR), seconds=60)


def test_a_model_that_is_deleted_and_applied_again_starts_anew(kube, operator, kubelet):
    kube.apply(model(GOOD))
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"))
    before = {item["metadata"]["uid"] for item in kube.list("jobs,deployments", names.SELECTOR)}
    kube.delete("onnxmodel", "magika", wait=False)
    kube.apply(model(GOOD))
    assert not is_true(kube.get("onnxmodel", "magika"), "Ready")
    kube.run("delete", "pods", "--all", "--grace-period=0", "--force")
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"))
    assert before.isdisjoint(item["metadata"]["uid"] for item in kube.list("jobs,deployments", names.SELECTOR))


def test_somebody_elses_service_is_not_taken_over(kube, operator, kubelet):
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "magika"},
        "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]},
    }
    kube.apply(service)
    kube.apply(model(GOOD))
    shown = until("Stalled", found(kube, "magika", true="Stalled"))
    assert shown["status"]["reason"] == "NameTaken"
    kept = kube.get("service", "magika")
    assert kept["spec"]["selector"] == {"app": "shop"}
    assert "ownerReferences" not in kept["metadata"]
    assert kubelet.job("magika", "validate") is None, "found before the first Job"
    kube.delete("service", "magika")
    until("the first Job", lambda: kubelet.job("magika", "validate"), seconds=90)
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"), seconds=90)


def test_a_quota_is_said_and_mends(kube, operator, kubelet):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    kube.apply(quota)
    until("the quota counts", lambda: kube.get("resourcequota", "none").get("status", {}).get("hard"))
    kube.apply(model(GOOD))
    shown = until("ApplyFailed", found(kube, "magika", reason="ApplyFailed"))
    assert "exceeded quota: none" in shown["status"]["lastFailure"]["message"]
    kube.delete("resourcequota", "none")
    until("the Job", lambda: kubelet.job("magika", "validate"), seconds=90)


def test_a_status_that_an_admission_rule_forbids_is_said_and_mends(kube, operator, kubelet, no_benchmarks_in_status):
    kube.apply(model(GOOD))
    for stage in UNSERVED:
        kubelet.succeed("magika", stage)
    shown = until("StatusRefused", found(kube, "magika", reason="StatusRefused"))
    assert "no benchmarks here" in shown["status"]["lastFailure"]["message"]
    assert is_true(shown, "Stalled")
    assert [s["state"] for s in shown["status"]["stages"][:2]] == ["Succeeded"] * 2
    kubelet.available("magika")
    kube.delete("validatingadmissionpolicy", kube.namespace)
    kubelet.succeed("magika", "loadtest")
    kubelet.succeed("magika", "probe")
    until("Ready", found(kube, "magika", true="Ready"), seconds=90)


@pytest.fixture
def no_benchmarks_in_status(kube):
    """A policy of the namespace."""
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": kube.namespace}}
    rule = {"apiGroups": [names.GROUP], "apiVersions": ["*"], "resources": [f"{names.PLURAL}/status"]}
    policy = {
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": kube.namespace}},
            "resourceRules": [{**rule, "operations": ["UPDATE"]}],
        },
        "validations": [{"expression": "!has(object.status.benchmark)", "message": "no benchmarks here"}],
    }
    binding = {"policyName": kube.namespace, "validationActions": ["Deny"]}
    kube.apply(
        {**kind, "kind": "ValidatingAdmissionPolicy", "spec": policy},
        {**kind, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding},
    )
    yield
    kube.delete("validatingadmissionpolicybinding", kube.namespace)
    kube.delete("validatingadmissionpolicy", kube.namespace)


def test_a_quota_on_pods_is_said_in_its_own_words_and_mends(kube, operator, kubelet):
    """The Job may be made, and its pod may not: only an event of the Job says why."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small"},
        "spec": {"hard": {"limits.memory": "1Gi"}},
    }
    kube.apply(quota)
    until("the quota counts", lambda: kube.get("resourcequota", "small").get("status", {}).get("hard"))
    kube.apply(model(GOOD))
    shown = until("NoPod", found(kube, "magika", reason="NoPod"), seconds=60)
    for said in (shown["status"]["message"], shown["status"]["lastFailure"]["message"]):
        assert "exceeded quota: small" in said
        assert "limited: limits.memory=1Gi" in said
    assert "ResourceQuota" in shown["status"]["lastFailure"]["hint"]
    kube.delete("resourcequota", "small")
    kubelet.succeed("magika", "validate")
    until("the next stage", lambda: kubelet.job("magika", "optimize"))


def test_a_provider_that_the_pool_has_not_is_stalled_with_its_field_and_mends(kube, operator, kubelet):
    kube.apply(model({**GOOD, "serving": {"executionProviders": ["TensorRT", "CPU"]}}))
    shown = until("Stalled", found(kube, "magika", true="Stalled"))
    assert shown["status"]["lastFailure"]["field"] == "spec.serving.executionProviders"
    assert "pool 'default' has no GPUs" in shown["status"]["message"]
    assert condition(shown, "Reconciling") is None
    kube.apply(model(GOOD))
    until("the Job", lambda: kubelet.job("magika", "validate"))
    until("not Stalled", lambda: condition(kube.get("onnxmodel", "magika"), "Stalled") is None)


def test_what_fails_is_said_and_other_models_go_on(kube, operator, kubelet):
    kube.apply(model(GOOD, "bad"), model(GOOD, "good"))
    failure = Failure(
        "OpsetTooLow", "opset is 9, opset.min is 13", "Export with opset 13 or newer.", "spec.validation.opset.min"
    )
    kubelet.fail("bad", "validate", ExitCode.REFUSED, failure)
    shown = until("Stalled", found(kube, "bad", true="Stalled"))
    last = shown["status"]["lastFailure"]
    assert (last["stage"], last["reason"], last["exitCode"]) == ("validate", "OpsetTooLow", ExitCode.REFUSED)
    kubelet.live("good")
    until("Ready", found(kube, "good", true="Ready"))
    # The hint's own command.
    kube.run(*last["hint"].rsplit("kubectl ", 1)[1].split()[2:])
    until("Reconciling", lambda: is_true(kube.get("onnxmodel", "bad"), "Reconciling"))
    kubelet.live("bad")
    shown = until("Ready", found(kube, "bad", true="Ready"))
    assert "lastFailure" not in kube.get("onnxmodel", "bad")["status"]


def test_an_attempt_that_may_pass_is_tried_again_by_the_job(kube, operator, kubelet):
    kube.apply(model(GOOD))
    failure = Failure("SourceUnreachable", "s3.example.com cannot be resolved", "Check source.uri.", "spec.source.uri")
    kubelet.fail("magika", "validate", ExitCode.RETRY, failure, fetch=True)
    shown = until("the failure is shown", found(kube, "magika", reason="ProgressingWithRetry"))
    assert condition(shown, "Reconciling")["reason"] == "ProgressingWithRetry"
    assert shown["status"]["lastFailure"]["reason"] == "SourceUnreachable"
    kubelet.succeed("magika", "validate")
    until("the next stage", lambda: kubelet.job("magika", "optimize"))
    assert len(kube.list("jobs", f"{names.LABEL_STAGE}=validate")) == 1


@pytest.mark.parametrize(("code", "reason"), [(137, "OutOfMemory"), (136, "NativeCrash")])
def test_a_death_ends_the_job_at_once(kube, operator, kubelet, code, reason):
    kube.apply(model(GOOD))
    kubelet.fail("magika", "validate", code, reason="OOMKilled" if code == 137 else "Error")
    shown = until("Stalled", found(kube, "magika", true="Stalled"))
    assert shown["status"]["lastFailure"]["reason"] == reason
    job = until("the Job ended", lambda: (j := kubelet.job("magika", "validate"))["status"].get("failed") and j)
    assert job["status"]["failed"] == 1, "no second attempt"
    assert "active" not in job["status"]


def test_an_image_that_cannot_be_pulled_is_reconciling_and_named(kube, operator, kubelet):
    kube.apply(model(GOOD))
    kubelet.waits("magika", "validate", "ImagePullBackOff", 'Back-off pulling image "runtime:cpu"')
    shown = until("ImagePullFailed", found(kube, "magika", reason="ImagePullFailed"))
    assert is_true(shown, "Reconciling")
    assert "runtimeImages in the chart's values" in shown["status"]["lastFailure"]["hint"]


def answer(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as found:
        return found.read().decode()


def test_a_restart_writes_nothing_and_counts_nothing_again(kube, start, kubelet):
    with reserved(1) as (port,):
        operator = start("--port", str(port))
        kube.apply(model(GOOD))
        kubelet.live("magika")
        until("Ready", found(kube, "magika", true="Ready"))
        shown = answer(port, "metrics")
        for stage in (*UNSERVED, *SERVED):
            assert f'onnxmodel_operator_stage_seconds_count{{end="Succeeded",stage="{stage}"}} 1.0' in shown

    def written():
        kinds = "onnxmodels,jobs,deployments,services,persistentvolumeclaims,controllerrevisions,poddisruptionbudgets"
        return kube.run("get", kinds, "-o", "jsonpath={.items[*].metadata.resourceVersion}")

    def still():
        seen = written()
        time.sleep(1)
        return seen if written() == seen else None

    before = until("nothing is written any more", still)
    operator.kill()
    with reserved(1) as (port,):
        again = start("--port", str(port))
        until("synced", lambda: "caches synced" in again.text())
        ready = 'onnxmodel_operator_models{phase="Ready"} 1.0'
        until("it knows the model", lambda: ready in answer(port, "metrics"), seconds=60)
        assert answer(port, "readyz")
        time.sleep(1)
        assert written() == before
        shown = answer(port, "metrics")
        assert "onnxmodel_operator_writes_total{" not in shown
        assert "onnxmodel_operator_leading 1.0" in shown
        assert shown.count("onnxmodel_operator_watch_silent_seconds{") == len(ALL)
        assert shown.count("onnxmodel_operator_watch_event_age_seconds{") == len(ALL)
        assert shown.count("onnxmodel_operator_watch_lists_total{") == len(ALL)
        assert "onnxmodel_operator_stage_seconds_count{" not in shown, "the operator before has counted them"
        assert shown_metrics(shown) == sorted(documented_metrics())
        for family in ('reconcile_seconds_count{phase="Ready"}', "loop_stall_seconds_count", "queue_age_seconds"):
            assert f"onnxmodel_operator_{family}" in shown


def test_two_with_a_lease_and_a_paused_leader_writes_nothing_more(kube, start, kubelet, proxy, through):
    kube.apply(model(GOOD))
    first = start("--lease-namespace", kube.namespace, "--verbose", through=through)
    until("the Lease", lambda: kube.get("lease", names.MANAGER))
    second = start("--lease-namespace", kube.namespace)
    kubelet.succeed("magika", "validate")
    until("optimize", lambda: kubelet.job("magika", "optimize"))
    assert "caches synced" not in second.text()
    first.process.send_signal(signal.SIGSTOP)
    # When it goes on, it hears of the past, and neither that another one leads nor what that one said in status.
    late, cut_off = Fault(verbs=("watch",), late=1), Fault(plural="leases", before="reset")
    proxy.faults += late, cut_off, Fault(plural="onnxmodels", verbs=("watch",), silent=True)
    kubelet.succeed("magika", "optimize")
    until("the standby leads", lambda: kubelet.job("magika", "benchmark"), seconds=60)
    before = proxy.written(kube.namespace)
    assert not proxy.written(kube.namespace, "delete")
    kubelet.succeed("magika", "benchmark")  # the first one hears of all this when it goes on
    kube.patch("onnxmodel", "magika", {"spec": {"optimization": {"graphLevel": "Basic"}}})
    until("the second one acts on it", lambda: kube.get("onnxmodel", "magika")["status"]["observedGeneration"] == 2)
    first.process.send_signal(signal.SIGCONT)
    until("it has something to write", lambda: "another replica may be the leader" in first.text())
    proxy.faults.remove(cut_off)
    assert first.process.wait(30) == 1
    assert proxy.written(kube.namespace) == before
    assert "holds the Lease: this replica exits" in first.text()
    assert "Traceback" not in first.text()
    assert second.stop() == 0
    assert kube.get("lease", names.MANAGER)["spec"]["holderIdentity"] == "", "whoever comes next need not wait"


def test_unusable_settings_stop_the_operator_with_the_field(tmp_path):
    import sys

    path = tmp_path / "settings.yaml"
    path.write_text("images: {}\npools: {default: {gpus: 1}}")
    command = [sys.executable, "-m", "onnxmodel_operator", "--settings", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "images.runtimeCpu" in done.stderr
    assert "pools.default.gpus" in done.stderr


async def test_what_has_changed_since_it_was_seen_is_not_deleted(kube):
    spec = {"ports": [{"port": 80}]}
    kube.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec})
    async with connect(from_kubeconfig(kube.kubeconfig)) as client:
        seen = await client.get("Service", kube.namespace, "s")
        kube.run("annotate", "service", "s", "someone=looked")
        with pytest.raises(StaleError):
            await client.delete("Service", seen)
        now = await client.get("Service", kube.namespace, "s")
        with pytest.raises(StaleError):
            await client.delete("Service", {**now, "metadata": {**now["metadata"], "uid": "another"}})
        assert await client.delete("Service", now) is None
        assert await client.delete("Service", now) is None, "it is gone"


def test_kubectl_describe_tells_the_story_of_a_model(kube, operator, kubelet):
    kube.apply(model(GOOD), model(GOOD, "refused"))
    failure = Failure("OpsetTooLow", "the opset is 7", "Export the model again.")
    kubelet.fail("refused", "validate", ExitCode.REFUSED, failure)
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"))
    story = until("its Event", lambda: (told := kube.run("describe", "onnxmodel", "magika")).count(" Ready ") and told)
    story = story.partition("\nEvents:")[2]
    stages = [line.split()[1] for line in story.splitlines() if "StageSucceeded" in line]
    assert len(stages) == 5
    assert "onnxmodel-operator" in story
    assert "validate succeeded in" in story
    assert "receives the traffic: fp32, p99 5ms, 800/s" in story
    until("Stalled", found(kube, "refused", true="Stalled"))
    story = until("its Event", lambda: "OpsetTooLow" in (told := kube.run("describe", "onnxmodel", "refused")) and told)
    (line,) = [line for line in story.partition("\nEvents:")[2].splitlines() if "OpsetTooLow" in line]
    assert line.split()[0] == "Warning"
    assert "the opset is 7. Export the model again." in line
