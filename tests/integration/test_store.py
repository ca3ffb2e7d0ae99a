"""A store without keys: the API server takes the pods, and issues for their accounts the tokens that the store trusts."""

import json

from dev.kube import found, until
from onnxmodel_operator import names
from onnxmodel_runtime.contract.stages import PULL, PUSH
from tests.integration.support import GOOD, SETTINGS, model
from tests.sts import RefusedError, Role

ARN = "arn:aws:iam::111122223333:role/artifacts"
STORE = """
artifacts:
  store: s3
  s3:
    bucket: artifacts
    webIdentity: {{roleArn: "{arn}", audience: "{audience}"}}
"""


def issued(kube, pod):
    """The token of the volume, as the kubelet asks for it: of the pod's account, bound to the pod."""
    (volume,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "store-token"]
    (source,) = volume["projected"]["sources"]
    audience = source["serviceAccountToken"]["audience"]
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={name}", f"--bound-object-uid={uid}")
    return kube.run("create", "token", pod["spec"]["serviceAccountName"], f"--audience={audience}", *bound).strip()


def test_each_pod_has_a_token_that_the_store_can_verify_where_bytes_are_moved_and_nowhere_else(kube, start, kubelet):
    kube.run("label", "namespace", kube.namespace, "pod-security.kubernetes.io/enforce=restricted")
    kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "servers"}})
    issuer = json.loads(kube.run("get", "--raw", "/.well-known/openid-configuration"))["issuer"]
    jwks = json.loads(kube.run("get", "--raw", "/openid/v1/jwks"))
    role = Role(ARN, jwks, issuer, f"system:serviceaccount:{kube.namespace}:.*", {}, audience="artifacts.example.com")
    start(settings=SETTINGS + STORE.format(arn=ARN, audience=role.audience))
    serving = {"pod": {"serviceAccountName": "servers"}}
    kube.apply(model({**GOOD, "serving": serving}))
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"))
    pods = kube.list("pods", f"{names.LABEL_MODEL}=magika")
    assert {names.LABEL_STAGE in pod["metadata"]["labels"] for pod in pods} == {True, False}, "of Jobs and of servers"
    for pod in pods:
        spec = pod["spec"]
        for container in (*spec["initContainers"], *spec["containers"]):
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            assert ("store-token" in mounts) is (container["name"] in (PULL, PUSH)), container["name"]
        assert role.claims(issued(kube, pod))["sub"] == f"system:serviceaccount:{kube.namespace}:servers"


def test_a_token_for_somebody_else_is_none_for_the_store(kube):
    """What the test above calls verified can fail."""
    issuer = json.loads(kube.run("get", "--raw", "/.well-known/openid-configuration"))["issuer"]
    jwks = json.loads(kube.run("get", "--raw", "/openid/v1/jwks"))
    role = Role(ARN, jwks, issuer, ".*", {}, audience="artifacts.example.com")
    token = kube.run("create", "token", "default", "--audience=vault").strip()
    head, body, signature = kube.run("create", "token", "default", f"--audience={role.audience}").strip().split(".")
    for refused in (token, f"{head}.{body}.{signature[::-1]}"):
        try:
            role.claims(refused)
        except RefusedError:
            continue
        raise AssertionError("it was taken")
