"""The cluster's certificates and kubeconfig files, fresh for every `up`."""

import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from .shell import run

_DAYS = "365"
_CONTEXT = "onnxmodel"


class Authority:
    """A certificate authority in a folder; every key is readable by its owner alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.crt"

    def create(self) -> None:
        """Make the authority and the key pair that signs service account tokens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        run("openssl", "req", "-x509", *_NEW_KEY, "-keyout", self.folder / "ca.key", "-out", self.certificate,
            "-days", _DAYS, "-subj", "/CN=onnxmodel-cluster", "-addext", "basicConstraints=critical,CA:TRUE",
            # Python >= 3.13 in a pod refuses an authority without keyUsage.
            "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")  # fmt: skip
        private, public = self.folder / "sa.key", self.folder / "sa.pub"
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private)
        run("openssl", "ec", "-in", private, "-pubout", "-out", public)

    def issue(self, name: str, user: str, group: str, addresses: Sequence[str] = (), names: Sequence[str] = ()) -> None:
        """Make `name.crt` and `name.key` of a Kubernetes user, who may also serve under these addresses and names."""
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        alternatives = ",".join(
            [*(f"IP:{address}" for address in addresses), *(f"DNS:{dns}" for dns in names or (name,))]
        )
        extensions.write_text(
            f"subjectAltName={alternatives}\nextendedKeyUsage=serverAuth,clientAuth\n"
            "keyUsage=critical,digitalSignature\nauthorityKeyIdentifier=keyid\n"
        )
        run("openssl", "req", *_NEW_KEY, "-keyout", self.folder / f"{name}.key", "-out", request,
            "-subj", f"/O={group}/CN={user}")  # fmt: skip
        run("openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.folder / "ca.key",
            "-CAcreateserial", "-days", _DAYS, "-out", self.folder / f"{name}.crt", "-extfile", extensions)  # fmt: skip

    def kubeconfig(self, path: Path, server: str, name: str) -> None:
        """Write the kubeconfig of an issued user. JSON is YAML, and the standard library writes it."""
        cluster = {"server": server, "certificate-authority-data": _data(self.certificate)}
        user = {
            "client-certificate-data": _data(self.folder / f"{name}.crt"),
            "client-key-data": _data(self.folder / f"{name}.key"),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": _CONTEXT,
            "contexts": [{"name": _CONTEXT, "context": {"cluster": _CONTEXT, "user": name}}],
            "clusters": [{"name": _CONTEXT, "cluster": cluster}],
            "users": [{"name": name, "user": user}],
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=1))


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _data(path: Path) -> str:
    return b64encode(path.read_bytes()).decode()
