"""Where the API server is, and as whom the operator asks it: the pod's ServiceAccount, or a kubeconfig outside a cluster."""

import base64
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN_SECONDS = 60.0
_CLUSTER = {"server", "certificate-authority", "insecure-skip-tls-verify", "extensions"}
_USER = {"token", "tokenFile", "client-certificate", "client-key"}


class AccessError(ValueError):
    """The API server cannot be asked: no credentials, or a kubeconfig with what the operator does not know."""


class Token:
    """A bearer token in a file. It is read again each minute: the kubelet replaces it long before it expires."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises OSError where there is no such file."""
        self._path, self._clock = path, clock
        self._text, self._read = path.read_text().strip(), clock()

    def __call__(self) -> str:
        """The token. One that cannot be read again stays."""
        now = self._clock()
        if now - self._read >= _TOKEN_SECONDS:
            self._read = now
            try:
                self._text = self._path.read_text().strip()
            except OSError:
                return self._text
        return self._text

    def refused(self) -> None:
        """The API server does not accept it: read it again before the next request."""
        self._read = self._clock() - _TOKEN_SECONDS


@dataclass(frozen=True)
class Access:
    """server: an http or https URL without a path at its end. tls: for https. token: None for a client certificate."""

    server: str
    tls: ssl.SSLContext | None = None
    token: Token | str | None = None

    def headers(self) -> dict[str, str]:
        """Those that say who asks."""
        token = self.token() if isinstance(self.token, Token) else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def refused(self) -> None:
        """The API server answered 401."""
        if isinstance(self.token, Token):
            self.token.refused()


def find() -> Access:
    """That of the kubeconfig that KUBECONFIG names, else the pod's, else that of ~/.kube/config. Raises AccessError."""
    named = os.environ.get("KUBECONFIG")
    try:
        if not named and _SERVICE_ACCOUNT.exists():
            return from_service_account(os.environ)
        return from_kubeconfig(Path(named) if named else Path.home() / ".kube" / "config")
    except (OSError, KeyError) as error:
        raise AccessError(f"no access to an API server: {type(error).__name__}: {error}") from error


def from_service_account(environment: Mapping[str, str], folder: Path = _SERVICE_ACCOUNT) -> Access:
    """What each pod has. Raises OSError or KeyError where it has not."""
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(server, ssl.create_default_context(cafile=folder / "ca.crt"), Token(folder / "token"))


def from_kubeconfig(path: Path) -> Access:
    """The current context of a kubeconfig, with a certificate or a token. Raises AccessError, OSError or KeyError.

    Plug-ins (exec, auth-provider) are not run: outside a cluster the operator is developed and tested, and no more.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise AccessError(f"{path} is no YAML: {error}") from error
    context = _named(config, "context", config["current-context"])
    cluster, user = _named(config, "cluster", context["cluster"]), _named(config, "user", context["user"])
    for fields, known in ((cluster, _CLUSTER), (user, _USER)):
        if unknown := sorted(field for field in fields if field.removesuffix("-data") not in known):
            raise AccessError(f"{path}: {unknown[0]} is not supported: use a client certificate, token or tokenFile")
    if not cluster["server"].startswith("https://"):
        return Access(cluster["server"].rstrip("/"), token=_token(user, path.parent))
    tls = ssl.create_default_context(cadata=_pem(cluster, "certificate-authority", path.parent) or None)
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if certificate := _pem(user, "client-certificate", path.parent):
        with tempfile.NamedTemporaryFile("w") as file:  # readable for this user alone; OpenSSL takes nothing but files
            file.write(f"{certificate}\n{_pem(user, 'client-key', path.parent)}")
            file.flush()
            tls.load_cert_chain(file.name)
    return Access(cluster["server"].rstrip("/"), tls, _token(user, path.parent))


def _named(config: Mapping[str, Any], kind: str, name: str) -> dict[str, Any]:
    found = next((item[kind] for item in config[f"{kind}s"] if item["name"] == name), None)
    if found is None:
        raise KeyError(f"{kind} {name}")
    return dict(found)


def _token(user: Mapping[str, Any], folder: Path) -> Token | str | None:
    return Token(folder / user["tokenFile"]) if "tokenFile" in user else user.get("token")


def _pem(fields: Mapping[str, Any], field: str, folder: Path) -> str:
    """Base64 in the file itself, or the path of another one, from the kubeconfig's folder."""
    if data := fields.get(f"{field}-data"):
        return base64.b64decode(data).decode()
    return (folder / fields[field]).read_text() if fields.get(field) else ""
