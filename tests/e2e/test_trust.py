"""Nothing unproven is served: signatures, golden data, policy, and a stage that has no network."""

import io

import numpy as np
import pytest

from dev.kube import condition, found, is_true, until
from onnxmodel_operator import names
from tests import models, signatures
from tests.e2e.support import RUNTIMES, model

FOLDER = "s3://models/signed/"
METADATA = "http://169.254.169.254/latest/meta-data/m.onnx"
NO_SECRET = {"secretRef": None}
PUBLIC_KEY = {"name": "model-signing", "key": "key.pub"}
SIGNATURE = {"uri": "s3://models/signed.sig", "publicKeyRef": PUBLIC_KEY}
NOWHERE = {**SIGNATURE, "uri": "s3://models/nowhere.sig"}

READ_ALL = """
import socket, sys
from onnxmodel_runtime.sandbox.seccomp import without_network
assert without_network()
for family in (socket.AF_INET, socket.AF_INET6):
    try:
        socket.socket(family)
    except PermissionError:
        continue
    sys.exit(f"{family} is open")
print("no network")
"""


def golden(shift=0.0):
    made = models.mlp()
    x = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)
    file = io.BytesIO()
    np.savez(file, x=x, scores=models.answers(made, {"x": x})[0] + np.float32(shift))
    return file.getvalue()


@pytest.fixture(scope="module")
def trusted(kube, platform, tmp_path_factory):
    """A namespace with the public key, and a signed folder in the store."""
    folder = tmp_path_factory.mktemp("signed")
    files = signatures.sign_folder(folder, {"model.onnx": models.mlp().SerializeToString(), "README.md": b"a card"})
    objects = {f"signed/{name}": content for name, content in files.content.items()}
    objects |= {f"extra/{name}": content for name, content in files.content.items()} | {"extra/more.bin": b"more"}
    objects |= {f"tampered/{name}": content for name, content in files.content.items()}
    objects["tampered/README.md"] = b"another card"
    objects |= {"signed.sig": files.signature, "golden.npz": golden(), "shifted.npz": golden(0.5)}
    platform.upload(objects)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "model-signing"}}
    other = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "another-key"}}
    kube.apply({**secret, "stringData": {"key.pub": files.public_key}})
    kube.apply({**other, "stringData": {"key.pub": signatures.another_public_key()}})
    kube.apply(*(case[0] for case in REFUSED), *TRUSTED, model("fixed", "s3://models/bad/fixed-batch.onnx"))
    return kube


def signed(name, uri=FOLDER, *, spec=None, **signature):
    return model(name, uri, source={"signature": {**SIGNATURE, **signature}}, **(spec or {}))


REFUSED = [
    (signed("tampered", "s3://models/tampered/"), "SignatureMismatch", "README.md"),
    (signed("extra", "s3://models/extra/"), "SignatureExtraFile", "more.bin"),
    (signed("wrong-key", publicKeyRef={"name": "another-key", "key": "key.pub"}), "SignatureUntrusted", ""),
    (signed("unsigned", uri="s3://models/mlp/model.onnx"), "SignatureMismatch", ""),
    (model("no-signature", FOLDER, source={"signature": NOWHERE}), "SignatureMissing", "nowhere.sig"),
    (model("shifted", validation={"golden": {"uri": "s3://models/shifted.npz"}}), "GoldenMismatch", "scores"),
    (model("metadata", METADATA, source=NO_SECRET), "SourceRejected", "169.254.169.254"),
    (model("loopback", "http://localhost:8000/m.onnx", source=NO_SECRET), "SourceRejected", "localhost"),
]  # fmt: skip
GOLDEN = {"validation": {"golden": {"uri": "s3://models/golden.npz"}}}
TRUSTED = [signed(f"trusted-{runtime}", spec={**GOLDEN, "serving": {"runtime": runtime}}) for runtime in RUNTIMES]


@pytest.mark.parametrize(
    ("manifest", "reason", "words"), REFUSED, ids=[case[0]["metadata"]["name"] for case in REFUSED]
)
def test_is_refused(trusted, manifest, reason, words):
    kube, name = trusted, manifest["metadata"]["name"]
    shown = until(f"{name} is Stalled", found(kube, name, true="Stalled"), seconds=540)
    last = shown["status"]["lastFailure"]
    assert (last["stage"], last["reason"]) == ("validate", reason), last
    assert words in last["message"]
    assert len(last["hint"]) > 20
    assert not kube.list("deployments", f"{names.LABEL_MODEL}={name}")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_signed_model_with_golden_data_is_served_and_its_signer_shown(trusted, runtime):
    shown = until("it is Ready", found(trusted, f"trusted-{runtime}", true="Ready"), seconds=540)
    assert shown["status"]["serving"]["runtime"] == runtime
    assert shown["status"]["model"]["signer"].startswith("key SHA256:")
    assert shown["status"]["model"]["uri"] == FOLDER


def test_the_findings_of_a_refused_model_are_in_status(trusted):
    shown = until("it is Stalled", found(trusted, "fixed", true="Stalled"), seconds=360)
    assert "ONNX-BATCH" in {finding["id"] for finding in shown["status"]["findings"]}
    assert all(finding["fix"] for finding in shown["status"]["findings"])


def test_the_platform_can_demand_a_signature_of_a_namespace(platform):
    kube = platform.namespace("signed-only")
    kube.apply(model("anyone"))
    shown = until("it is Stalled", found(kube, "anyone", true="Stalled"), seconds=180)
    assert condition(shown, "Stalled")["reason"] == "PolicyViolation"
    assert shown["status"]["lastFailure"]["field"] == "spec.source.signature"
    assert not kube.list("jobs")
    assert not is_true(shown, "Ready")
    kube.delete("onnxmodel", "anyone")


def test_what_parses_a_model_has_no_network_in_a_restricted_pod(kube, platform):
    assert platform.client(kube, "no-network", READ_ALL, {}) == "no network\n"
