"""Artifacts in a bucket without a key in the cluster: real tokens, mounted by a real kubelet, for a real store's keys."""

import base64
import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from dev.addons.process import AddOn
from dev.cluster.node import NODES
from dev.kube import found, until
from dev.platform import S3_ENDPOINT, STORAGE
from onnxmodel_operator import names
from tests.e2e.support import model, namespace
from tests.sts import Role

ROOT = Path(__file__).parents[2]
ADDRESS, PORT = NODES[0].address, 19645
ROLE = "arn:aws:iam::111122223333:role/artifacts-$namespace"
PREFIX = "keyless"
LOOK = (
    "import glob, os; print(glob.glob('/var/run/secrets/*'), [name for name in os.environ if name.startswith('AWS_')])"
)


@pytest.fixture(scope="module")
def kube(platform):
    """A namespace with the keys of models, and none of the store."""
    identity = {"roleArn": ROLE, "audience": "artifacts.example.com", "endpoint": f"http://{ADDRESS}:{PORT}"}
    s3 = {"bucket": "models", "prefix": PREFIX, "endpoint": S3_ENDPOINT, "webIdentity": identity}
    platform.install_operator('settings.artifacts.store="s3"', f"settings.artifacts.s3={json.dumps(s3)}")
    with namespace(platform) as within:
        yield within
    platform.install_operator()


@pytest.fixture(scope="module")
def service(kube):
    """A token service that trusts the API server's tokens of this namespace, and has the store's keys."""
    kept = kube.within(STORAGE).get("secret", "s3")["data"]
    access, secret = (base64.b64decode(kept[name]).decode() for name in ("ROOT_ACCESS_KEY", "ROOT_SECRET_KEY"))
    role = Role(
        ROLE.replace("$namespace", kube.namespace),
        json.loads(kube.run("get", "--raw", "/openid/v1/jwks")),
        json.loads(kube.run("get", "--raw", "/.well-known/openid-configuration"))["issuer"],
        f"system:serviceaccount:{kube.namespace}:.*",
        {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret},
        "artifacts.example.com",
    )
    addon = AddOn("sts")

    def start():
        addon.state.mkdir(parents=True)
        (addon.state / "role.json").write_text(json.dumps(asdict(role)))
        words = (sys.executable, "-m", "tests.sts", addon.state / "role.json", ADDRESS, str(PORT))
        addon.start("sts", *words, env={"PYTHONPATH": str(ROOT)})

    with addon.session("token service", start):
        yield addon


def test_a_model_serves_from_a_bucket_by_the_token_of_its_account(service, kube, platform):
    kube.apply(model("magika", "s3://models/magika/1/model.onnx"))
    until("Ready", found(kube, "magika", true="Ready"), seconds=600)
    assert not kube.list("pvc")
    assert [secret["metadata"]["name"] for secret in kube.list("secrets")] == ["s3-credentials"], "of the source"
    assert platform.keys(f"{PREFIX}/{kube.namespace}/magika/")
    assert set(service.log("sts").split()) == {f"system:serviceaccount:{kube.namespace}:default"}
    (pod,) = kube.list("pods", f"{names.LABEL_REVISION}")
    seen = kube.run("exec", pod["metadata"]["name"], "-c", "server", "--", "python3", "-c", LOOK)
    print(seen)
    assert seen.split() == ["[]", "[]"], "what parses the model has neither a token nor a key"
