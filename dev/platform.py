"""Set up what a platform team would: the operator by its chart, and an S3 store with models in it.

Used by `make demo` and by the end-to-end tests, on whatever cluster CLUSTER chooses (dev/cluster).
"""

import base64
import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from dev.cluster import choice
from dev.cluster.golang import program
from dev.cluster.steps import again, step
from dev.kube import Kube, until

ROOT = Path(__file__).parents[1]
SYSTEM = "onnx-operator-system"
STORAGE = "storage"
S3_ENDPOINT = f"http://s3.{STORAGE}.svc:7070"
OPERATOR = "onnxmodel-operator"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
SECURE_POD = {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
SECURE_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

# Two pools of the local cluster's two nodes. The GPUs are pretended, so the gpu pool is asked for its CPU by default.
VALUES: dict[str, Any] = {
    "settings": {
        "pools": {
            "default": {"nodeSelector": {"onnx-operator.dev/pool": "default"}},
            "gpu": {
                "nodeSelector": {"onnx-operator.dev/pool": "gpu"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                "gpuResource": "nvidia.com/gpu",
                "executionProviders": ["CUDA", "CPU"],
            },
        },
        # The local nodes share two cores: small requests, so that several models fit.
        "defaults": {
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        },
        "jobs": {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}},
        "artifacts": {"size": "1Gi"},
        "policy": {"require": [{"namespaces": ["signed-only"], "signature": True}]},
    },
}


class Platform:
    """A running cluster with the project's images in it."""

    def __init__(self, *, tests: bool = False) -> None:
        """tests: with the image of Triton, which takes a minute to build."""
        self.cluster = choice.chosen()
        self.kube = Kube(program("kubectl"), self.cluster.up())
        self.images = choice.load_images(self.cluster, tests=tests)
        self._keys = ("onnxmodel", secrets.token_hex(16))

    def namespace(self, name: str, labels: dict[str, str] | None = None) -> Kube:
        """A namespace under the restricted Pod Security Standard, there before this returns."""
        metadata = {"name": name, "labels": {**RESTRICTED, **(labels or {})}}
        self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        within = self.kube.within(name)
        until("the namespace's ServiceAccount", lambda: within.get("serviceaccount", "default"))
        return within

    def install_operator(self, *overrides: str, chart: Path = ROOT / "charts" / OPERATOR) -> None:
        """helm upgrade --install, and wait until the operator is ready. overrides: KEY=VALUE for --set-json."""
        self.namespace(SYSTEM)
        words = [
            "upgrade",
            "--install",
            OPERATOR,
            str(chart),
            "--namespace",
            SYSTEM,
            "--values",
            "-",
        ]
        words += [f"--set-json={override}" for override in overrides]
        with step("operator: installing the chart"):
            try:
                self._helm(*words, "--wait", "--timeout=120s", stdin=json.dumps(self.values()))
            except RuntimeError as error:
                log = self.kube.within(SYSTEM).run("logs", f"deployment/{OPERATOR}", "--tail=30")
                raise RuntimeError(f"{error}\nThe operator's log:\n{log}") from error

    def test_operator(self) -> None:
        """helm test. Raises RuntimeError with what its pod says."""
        self._helm("test", OPERATOR, "--namespace", SYSTEM, "--timeout=120s", "--logs")

    def uninstall_operator(self) -> None:
        """Uninstall the chart, if it is installed, and delete the CRD, which the chart keeps, with all models."""
        self._helm("uninstall", OPERATOR, "--namespace", SYSTEM, "--wait", "--ignore-not-found")
        self.kube.delete("crd", "onnxmodels.onnx-operator.dev")

    def values(self) -> dict[str, Any]:
        """Return the values of the chart for this cluster."""
        operator, tag = self.images["operator"].rsplit(":", 1)
        return {
            **VALUES,
            "image": {"repository": operator, "tag": tag, "pullPolicy": "IfNotPresent"},
            "runtimeImages": {
                "cpu": self.images["runtime-cpu"],
                "gpu": self.images["runtime-cpu"],
                "triton": self.images.get("triton", ""),
            },
        }

    def _helm(self, *words: str, stdin: str | None = None) -> None:
        command = [str(program("helm")), *words]
        done = subprocess.run(
            command, input=stdin, env=self.kube.environment(), capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            raise RuntimeError(f"helm {words[0]}: {done.stderr.strip()} {done.stdout.strip()}".rstrip())

    def install_s3(self) -> None:
        """An S3 gateway (versitygw) in a namespace of its own. Its keys are made once and kept in a Secret."""
        storage = self.namespace(STORAGE)
        if kept := storage.list("secrets", "app=s3"):
            data = {key: base64.b64decode(value).decode() for key, value in kept[0]["data"].items()}
            self._keys = (data["ROOT_ACCESS_KEY"], data["ROOT_SECRET_KEY"])
        keys = {"ROOT_ACCESS_KEY": self._keys[0], "ROOT_SECRET_KEY": self._keys[1]}
        with step("S3 gateway: starting"):
            storage.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": "s3", "labels": {"app": "s3"}},
                    "stringData": keys,
                },
                _s3_deployment(self.images["versitygw"]),
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": "s3"},
                    "spec": {"selector": {"app": "s3"}, "ports": [{"port": 7070}]},
                },
            )
            storage.run("rollout", "status", "deployment/s3", "--timeout=120s")

    def credentials(self, kube: Kube, name: str = "s3-credentials", secret_key: str | None = None) -> None:
        """A Secret for source.secretRef in a model's namespace."""
        data = {
            "AWS_ACCESS_KEY_ID": self._keys[0],
            "AWS_SECRET_ACCESS_KEY": secret_key or self._keys[1],
            "AWS_ENDPOINT_URL": S3_ENDPOINT,
            "AWS_REGION": "us-east-1",
        }
        kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})

    def upload(self, objects: dict[str, bytes], bucket: str = "models") -> None:
        """Put objects into the S3 store, key -> content."""
        with self._store() as client:
            if bucket not in [item["Name"] for item in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket=bucket)
            for key, content in objects.items():
                client.put_object(Bucket=bucket, Key=key, Body=content)

    def keys(self, prefix: str, bucket: str = "models") -> list[str]:
        """List the keys in the S3 store that begin like this, 1,000 at most."""
        with self._store() as client:
            listed = client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for item in listed.get("Contents", ())]

    @contextmanager
    def _store(self) -> Iterator[Any]:
        """A client of the S3 store, with all rights."""
        with forwarded(self.kube.within(STORAGE), "service/s3", 7070) as port:
            client = boto3.client(
                "s3",
                endpoint_url=f"http://127.0.0.1:{port}",
                aws_access_key_id=self._keys[0],
                aws_secret_access_key=self._keys[1],
                region_name="us-east-1",
                config=Config(s3={"addressing_style": "path"}, proxies={}),
            )
            yield client
            client.close()

    def client(
        self,
        kube: Kube,
        name: str,
        script: str,
        files: dict[str, bytes],
        *arguments: str,
        image: str = "",
        cpu: str = "",
        seconds: float = 120,
    ) -> str:
        """Run a Python script in a pod and return what it printed.

        image: the runtime's, which has tritonclient, or this. cpu: requested; without it, what others leave over.
        seconds: that it may take, its pod's start included.

        files: mounted at /files, at most 1 MB together.
        """
        binary = {key: base64.b64encode(content).decode() for key, content in files.items()}
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"script.py": script}}
        kube.delete("job", name)
        kube.delete("configmap", name)
        # Not applied: that would keep the files in an annotation too, which is smaller than a ConfigMap may be.
        kube.create(
            {**config, "binaryData": binary},
            _client_job(name, image or self.images["runtime-cpu"], cpu, arguments, seconds),
        )
        done = until(
            f"the client {name} terminates",
            lambda: next(
                (c["type"] for c in kube.get("job", name)["status"].get("conditions", ()) if c["status"] == "True"),
                None,
            ),
            seconds=seconds,
        )
        printed = kube.run("logs", f"job/{name}")
        if done not in ("Complete", "SuccessCriteriaMet"):
            raise RuntimeError(f"the client {name} failed:\n{printed}")
        return printed


@contextmanager
def forwarded(kube: Kube, target: str, port: int) -> Iterator[int]:
    """kubectl port-forward to a port of this machine's loopback address."""
    command = [kube.kubectl, "-n", kube.namespace, "port-forward", "--address=127.0.0.1", target, f":{port}"]
    forwarding: list[subprocess.Popen[str]] = []

    def start() -> int:
        process = subprocess.Popen(
            command, env=kube.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        forwarding.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not (match := re.search(r"127\.0\.0\.1:(\d+)", line)):
            raise RuntimeError(f"port-forward to {target}: {line}{process.stdout.read()}")
        return int(match[1])

    try:
        # A pod that was just replaced refuses the first.
        yield again(f"the port-forward to {target}", start, (RuntimeError,))
    finally:
        for process in forwarding:
            process.terminate()
            process.communicate(timeout=10)


def _s3_deployment(image: str) -> dict[str, Any]:
    container = {
        "name": "s3",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--port=:7070", "--region=us-east-1", "posix", "/data"],
        "envFrom": [{"secretRef": {"name": "s3"}}],
        "ports": [{"containerPort": 7070}],
        "readinessProbe": {"tcpSocket": {"port": 7070}, "periodSeconds": 1},
        "securityContext": SECURE_CONTAINER,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod = {
        "securityContext": SECURE_POD,
        "automountServiceAccountToken": False,
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }
    labels = {"app": "s3"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "s3"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


def _client_job(name: str, image: str, cpu: str, arguments: tuple[str, ...], seconds: float) -> dict[str, Any]:
    container = {
        "name": "client",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "/files/script.py", *arguments],
        "resources": {"requests": {"cpu": cpu} if cpu else {}},
        "securityContext": SECURE_CONTAINER,
        "volumeMounts": [{"name": "files", "mountPath": "/files"}],
    }
    pod = {
        "restartPolicy": "Never",
        "securityContext": SECURE_POD,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [container],
        "volumes": [{"name": "files", "configMap": {"name": name}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "activeDeadlineSeconds": int(seconds) - 10, "template": {"spec": pod}},
    }
