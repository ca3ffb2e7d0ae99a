"""Everything that users get wrong, at once: each is said with a reason and a hint, and nobody else is touched."""

import pytest

from dev.kube import condition, found, is_true, until
from onnxmodel_operator import names
from tests.e2e.support import MLP, RUNTIMES, model

NOBODY = {"secretRef": None}
NO_SECRET = {"secretRef": {"name": "not-there"}}
SMALL = {"resources": {"limits": {"cpu": "1", "memory": "400Mi"}, "requests": {"cpu": "50m", "memory": "64Mi"}}}
ODD = ("trees", "texts")
CONTRACT = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [-1, 4]}]}
WRONG_SHA = "0" * 64
STALLED, RECONCILING = "Stalled", "Reconciling"


def bad(name, **spec):
    return model(name, f"s3://models/bad/{name}.onnx", **spec)


CASES = [
    (bad("not-onnx"), STALLED, "validate", "NotOnnx", "HTML"),
    (bad("truncated"), STALLED, "validate", "ModelCorrupt", ""),
    (model("wrong-sha", source={"sha256": WRONG_SHA}), STALLED, "validate", "DigestMismatch", WRONG_SHA[:12]),
    (bad("old-opset"), STALLED, "validate", "OpsetTooLow", "9"),
    (bad("fixed-batch"), STALLED, "validate", "NoDynamicBatch", ""),
    (model("contract", validation=CONTRACT), STALLED, "validate", "ContractMismatch", "INT64"),
    (model("no-key", "s3://models/nowhere.onnx"), STALLED, "validate", "SourceNotFound", "nowhere.onnx"),
    (model("no-bucket", "s3://nowhere/model.onnx"), STALLED, "validate", "SourceNotFound", "nowhere"),
    (model("wrong-keys", source={"secretRef": {"name": "wrong"}}), STALLED, "validate", "SourceForbidden", ""),
    (model("no-host", "http://nowhere.invalid/m.onnx", source=NOBODY), RECONCILING, "validate", "SourceUnreachable", "nowhere"),
    (bad("sigfpe"), STALLED, "validate", "ShapeInferenceFailed", "overflow"),
    # Warn blocks nothing that validate finds: then the crash itself happens, in the pod that loads the model.
    (model("crash", "s3://models/bad/sigfpe.onnx", validation={"mode": "Warn"}), STALLED, "optimize", "NativeCrash", "SIGFPE"),
    (bad("memory", serving=SMALL), STALLED, "validate", "OutOfMemory", "memory"),
    (model("no-secret", source=NO_SECRET), RECONCILING, "validate", "CreateContainerConfigError", "not-there"),
    (model("many-gpus", serving={"nodePool": "gpu", "gpus": 64}), RECONCILING, "optimize", "InsufficientGPU", "nvidia.com/gpu"),
    (model("no-gpus", serving={"executionProviders": ["TensorRT"]}), STALLED, "spec", "InvalidSpec", "has no GPUs"),
]  # fmt: skip


@pytest.fixture(scope="module")
def applied(kube, platform):
    platform.credentials(kube, "wrong", secret_key="not-the-key")
    neighbours = [model(f"neighbour-{runtime}", MLP, serving={"runtime": runtime}) for runtime in RUNTIMES]
    kube.apply(*neighbours)
    for name in (item["metadata"]["name"] for item in neighbours):
        until(f"{name} is Ready", found(kube, name, true="Ready"), seconds=360)
    kube.apply(*(case[0] for case in CASES), *(model(name, f"s3://models/odd/{name}.onnx") for name in ODD))
    return kube


@pytest.mark.parametrize(
    ("manifest", "state", "stage", "reason", "words"), CASES, ids=[c[0]["metadata"]["name"] for c in CASES]
)
def test_is_said(applied, manifest, state, stage, reason, words):
    kube, name = applied, manifest["metadata"]["name"]

    def failed():
        shown = kube.get("onnxmodel", name)
        return shown if shown["status"].get("lastFailure") and is_true(shown, state) else None

    shown = until(f"{name} is {state} with a failure", failed, seconds=540)
    last = shown["status"]["lastFailure"]
    assert (last["stage"], last["reason"]) == (stage, reason), last
    assert words in last["message"], last
    assert len(last["hint"]) > 20
    assert condition(shown, {STALLED: RECONCILING, RECONCILING: STALLED}[state]) is None
    assert not is_true(shown, "Ready")
    assert not is_true(shown, "Available")
    assert not kube.list("deployments", f"{names.LABEL_MODEL}={name}"), "nothing unproven is served"
    until("kubectl describe tells it", lambda: ["Warning", reason] in events(kube, name))


def events(kube, name):
    """Type and reason of each Event that kubectl describe shows."""
    shown = kube.run("describe", "onnxmodel", name).partition("\nEvents:")[2]
    return [line.split()[:2] for line in shown.splitlines()]


def test_what_ends_the_same_way_was_tried_once(applied):
    kube = applied
    for manifest, state, stage, _, _ in CASES:
        if state == STALLED and stage == "validate":
            pods = kube.list("pods", f"{names.LABEL_MODEL}={manifest['metadata']['name']},{names.LABEL_STAGE}={stage}")
            assert len(pods) == 1, [pod["metadata"]["name"] for pod in pods]


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_and_runs_is_served(applied, name):
    """A label that is declared [1], and texts in a locale that slim images lack: Ready is a real inference."""
    shown = until(f"{name} is Ready", found(applied, name, true="Ready"), seconds=540)
    assert all(finding["severity"] == "info" for finding in shown["status"].get("findings", []))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_neighbour_was_not_touched(applied, recorded, runtime):
    states = recorded.states(applied.namespace, f"neighbour-{runtime}")
    ready = [is_true(state, "Ready") for state in states]
    assert all(ready[ready.index(True) :])
    operator = applied.within("onnx-operator-system").list("pods")[0]
    assert operator["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_repaired_secret_and_the_command_of_the_hint_are_enough(applied, platform):
    kube = applied
    shown = until("Stalled", found(kube, "wrong-keys", true="Stalled"))
    platform.credentials(kube, "wrong")
    kube.run(*shown["status"]["lastFailure"]["hint"].rsplit("kubectl ", 1)[1].split()[2:])
    until("Ready", found(kube, "wrong-keys", true="Ready"), seconds=540)
