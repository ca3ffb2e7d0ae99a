"""A real registry (Debian's docker-registry) for the tests of oci:// and of the store, and a client that pushes to it."""

import base64
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from dev.ports import reserved

USER, PASSWORD = "user", "pa55-w0rd"
_HTPASSWD = "user:$2y$05$abcdefghijklmnopqrstuuykDbrHIkPBAe3TkMNzTPuBTmCT39jdG\n"  # bcrypt
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def program() -> str:
    """The registry's path. It is installed where that is possible, and the test is skipped where not."""
    if found := shutil.which("docker-registry"):
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("no docker-registry, and only root can install Debian's package of that name")
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "docker-registry"]):
        done = subprocess.run(
            command, capture_output=True, check=False, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        )
        if done.returncode:
            pytest.skip(f"no docker-registry: {' '.join(command)} ended with {done.returncode}")
    return shutil.which("docker-registry") or pytest.skip("no docker-registry in Debian's package of that name")


@dataclass
class Registry:
    """A registry that runs. authorization: what a push needs. start: again, with what it held before."""

    host: str
    base: str
    context: ssl.SSLContext | None = None
    authorization: str = ""
    process: Any = None
    start: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """Stop it, as an outage does."""
        self.process.terminate()
        self.process.wait(60)

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository, sorted."""
        request = urllib.request.Request(f"{self.base}/v2/{repository}/tags/list")
        if self.authorization:
            request.add_header("Authorization", self.authorization)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
                return sorted(json.load(answer)["tags"] or ())
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return []

    def _send(self, method: str, url: str, data: bytes | None = None, media: str = "application/octet-stream") -> Any:
        request = urllib.request.Request(url, data, {"Content-Type": media}, method=method)
        if self.authorization:
            request.add_header("Authorization", self.authorization)
        handlers: list[Any] = [urllib.request.ProxyHandler({})]
        if self.context:
            handlers.append(urllib.request.HTTPSHandler(context=self.context))
        with urllib.request.build_opener(*handlers).open(request, timeout=10) as answer:
            answer.read()
            return answer.headers

    def blob(self, repository: str, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        place = self._send("POST", f"{self.base}/v2/{repository}/blobs/uploads/", b"")["Location"]
        self._send("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", content)
        return digest

    def push(self, repository: str, tag: str, *layers: tuple[str, bytes, dict[str, str]]) -> str:
        """An artifact of layers (media type, content, annotations). Returns its digest."""
        entries = [
            {"mediaType": media, "digest": self.blob(repository, content), "size": len(content), "annotations": notes}
            for media, content, notes in layers
        ]
        config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": self.blob(repository, b"{}"), "size": 2}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": entries}
        return self.manifest(repository, tag, manifest)

    def manifest(self, repository: str, tag: str, manifest: dict[str, Any]) -> str:
        content = json.dumps(manifest).encode()
        self._send("PUT", f"{self.base}/v2/{repository}/manifests/{tag}", content, manifest["mediaType"])
        return f"sha256:{hashlib.sha256(content).hexdigest()}"


@contextmanager
def registry(
    folder: Path, *, basic: bool = False, token: "Tokens | None" = None, tls: Any = None, delete: bool = False
) -> Iterator[Registry]:
    """Run a registry of its own, with anybody, a password or a token let in. delete: it removes manifests."""
    command = program()
    folder.mkdir(parents=True)
    with reserved(1) as ports:
        yield from _run(command, folder, ports[0], basic, token, tls, delete)


def _run(
    command: str, folder: Path, port: int, basic: bool, token: "Tokens | None", tls: Any, delete: bool
) -> Iterator[Registry]:
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": delete}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "test"},
    }
    context = None
    if tls is not None:
        tls.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        config["http"]["tls"] = {"certificate": str(folder / "server.pem"), "key": str(folder / "server.pem")}
        context = ssl.create_default_context()
        tls.configure_trust(context)
    result = Registry(f"127.0.0.1:{port}", f"{'https' if tls else 'http'}://127.0.0.1:{port}", context)
    if basic:
        (folder / "htpasswd").write_text(_HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
        result.authorization = basic_header()
    if token is not None:
        (folder / "tokens.pem").write_bytes(token.certificate)
        auth = {"realm": token.realm, "service": "test", "issuer": "test", "rootcertbundle": str(folder / "tokens.pem")}
        config["auth"] = {"token": auth}
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}

    def start() -> None:
        with (folder / "log").open("ab") as log:
            result.process = subprocess.Popen(
                [command, "serve", str(folder / "config.yml")], stdout=log, stderr=log, env=environment
            )
        _wait(port, result.process, folder / "log")

    result.start = start
    start()
    try:
        yield result
    finally:
        result.stop()


def basic_header() -> str:
    return "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the registry does not listen: {log.read_text()}")


class Tokens:
    """Makes the tokens that a registry believes."""

    def __init__(self) -> None:
        import datetime

        self.realm = ""
        self._key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tokens")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(1))
            .not_valid_after(now + datetime.timedelta(1))
            .add_extension(x509.BasicConstraints(True, None), True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        self._chain = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()

    def make(self, repository: str, *actions: str) -> str:
        now = int(time.time())
        head = {"typ": "JWT", "alg": "RS256", "x5c": [self._chain]}
        body = {"iss": "test", "sub": USER, "aud": "test", "exp": now + 300, "nbf": now - 10, "iat": now, "jti": "1"}
        body |= {"access": [{"type": "repository", "name": repository, "actions": list(actions)}]}
        signed = b".".join(_base64(json.dumps(part).encode()) for part in (head, body))
        signature = self._key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return (signed + b"." + _base64(signature)).decode()


def _base64(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
