"""What serves is looked after, and what others put into our objects is left alone: on a real API server."""

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

from dev.kube import found, until
from onnxmodel_operator import names
from tests.integration.support import GOOD, model


def server(kube):
    """The Deployment that takes traffic."""
    revision = kube.get("service", "magika")["spec"]["selector"][names.LABEL_REVISION]
    return kube.get("deployment", f"magika-{revision}")


def test_what_serves_is_scaled_and_restored_while_a_new_spec_is_refused(kube, operator, kubelet):
    kube.apply(model(GOOD))
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"))
    before = server(kube)
    kube.patch("onnxmodel", "magika", {"spec": {"serving": {"nodePool": "mars"}}})
    until("Stalled", found(kube, "magika", true="Stalled"))
    kube.run("scale", "onnxmodel/magika", "--replicas=3")
    until("it is scaled", lambda: server(kube)["spec"]["replicas"] == 3)
    kube.delete("deployment", before["metadata"]["name"])
    kube.delete("service", "magika")
    until("the Service is back", lambda: kube.get("service", "magika"))
    after = until("the Deployment is back", lambda: kube.get("deployment", before["metadata"]["name"]))
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["spec"] == {**before["spec"], "replicas": 3}


@pytest.fixture
def webhook(kube):
    """An admission webhook, of this namespace alone: it rewrites images of Deployments to a mirror and picks a zone for
    them, and injects a sidecar into them and into every pod.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            item, patch = review["request"]["object"], []
            at = "/spec" if item["kind"] == "Pod" else "/spec/template/spec"
            pod = item["spec"] if item["kind"] == "Pod" else item["spec"]["template"]["spec"]
            image = pod["containers"][0]["image"]
            if item["kind"] == "Deployment":
                selector = {**pod.get("nodeSelector", {}), "zone": "a"}
                patch.append({"op": "add", "path": f"{at}/nodeSelector", "value": selector})
            if item["kind"] == "Deployment" and not image.startswith("mirror/"):
                patch.append({"op": "replace", "path": f"{at}/containers/0/image", "value": f"mirror/{image}"})
            if len(pod["containers"]) == 1:
                patch.append({"op": "add", "path": f"{at}/containers/-", "value": {"name": "proxy", "image": "proxy"}})
            answer = {
                "uid": review["request"]["uid"],
                "allowed": True,
                "patchType": "JSONPatch",
                "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
            }
            body = json.dumps({**review, "response": answer}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.socket = context.wrap_socket(served.socket, server_side=True)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    hook = {
        "name": "mirror.example.com",
        "clientConfig": {
            "url": f"https://127.0.0.1:{served.server_port}/",
            "caBundle": base64.b64encode(authority.cert_pem.bytes()).decode(),
        },
        "rules": [
            {
                "apiGroups": ["apps"],
                "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["deployments"],
            },
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
        ],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": kube.namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    kube.apply(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": kube.namespace},
            "webhooks": [hook],
        }
    )
    yield
    kube.run("delete", "mutatingwebhookconfiguration", kube.namespace)
    served.shutdown()
    served.server_close()


def test_a_webhook_that_changes_our_deployments_and_injects_sidecars_causes_no_fight(kube, webhook, operator, kubelet):
    kube.apply(model(GOOD))
    kubelet.live("magika")  # each stage's container ends, and the sidecar beside it runs on
    shown = until("Ready", found(kube, "magika", true="Ready"))
    assert [stage["state"] for stage in shown["status"]["stages"]] == ["Succeeded"] * 5
    until("every Job is ended", lambda: not kube.list("jobs"))
    deployment = server(kube)
    pod = deployment["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"].startswith("mirror/")
    assert [container["name"] for container in pod["containers"]] == ["server", "proxy"]
    kube.run("annotate", "onnxmodel", "magika", "someone=looked")  # it is reconciled once more
    kube.run("scale", "onnxmodel/magika", "--replicas=2")
    until("it is scaled", lambda: server(kube)["spec"]["replicas"] == 2)
    # One apply of each manifest, and one more after the Deployment's controller has annotated it.
    said = operator.text().count("an admission webhook changes")
    assert 1 <= said <= 4
    assert "spec.template.spec" in operator.text()
    kube.run("annotate", "onnxmodel", "magika", "someone=again", "--overwrite")
    until("Reconciling", found(kube, "magika", true="Reconciling"))
    assert operator.text().count("an admission webhook changes") == said
