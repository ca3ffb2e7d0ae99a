"""Address and credentials of the API server: the pod's ServiceAccount, or a kubeconfig outside a cluster."""

import base64
import contextlib
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
_FILE_SECONDS = 60.0
_CLUSTER = {
    "server",
    "certificate-authority",
    "certificate-authority-data",
    "insecure-skip-tls-verify",
    "extensions",
}
_USER = {"token", "tokenFile", "client-certificate", "client-certificate-data", "client-key", "client-key-data"}
_WAY_OUT = (
    "use a context with a client certificate or a token, or one whose server is the http:// address of `kubectl proxy`"
)


class AccessError(ValueError):
    """The API server cannot be reached: there are no credentials, or the kubeconfig uses an unsupported feature."""


class File:
    """A token or a CA in a file. It is read again each minute: the kubelet replaces it long before it expires.

    changed: called with the new text. Where it raises OSError or ValueError, the old text stays.
    """

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, changed: Callable[[str], None] = lambda _: None
    ) -> None:
        """Read the file. Raises OSError where there is none."""
        self._path, self._clock, self._changed = path, clock, changed
        self._text, self._read = path.read_text().strip(), clock()

    def __call__(self) -> str:
        """Return the text. The last one stays while the file cannot be read."""
        now = self._clock()
        if now - self._read >= _FILE_SECONDS:
            self._read = now
            with contextlib.suppress(OSError, ValueError):
                text = self._path.read_text().strip()
                if text != self._text:
                    self._changed(text)
                    self._text = text
        return self._text

    def refused(self) -> None:
        """Record that the API server rejected the text: read it again before the next request."""
        self._read = self._clock() - _FILE_SECONDS


@dataclass(frozen=True)
class Access:
    """server: an http or https URL without a path at its end. tls: for https. token: None for a client certificate.

    authority: a file with the CA's certificates, whose changes reach `tls`.
    """

    server: str
    tls: ssl.SSLContext | None = None
    token: File | str | None = None
    authority: File | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers that authenticate a request. Called before each one: rereads the token if it is due."""
        if self.authority:
            self.authority()
        token = self.token() if isinstance(self.token, File) else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def refused(self) -> None:
        """Record that the API server answered 401."""
        if isinstance(self.token, File):
            self.token.refused()


def find(*, anonymous: bool = False) -> Access:
    """Return the access that the kubeconfig named by KUBECONFIG, the pod's ServiceAccount or ~/.kube/config gives.

    The first that exists is used, in this order. anonymous: the address and the CA alone, without any credential.
    Raises AccessError.
    """
    named = [path for path in os.environ.get("KUBECONFIG", "").split(os.pathsep) if path]
    if len(named) > 1:
        raise AccessError(
            "KUBECONFIG lists several files, but the operator reads only one: create it with `kubectl "
            "config view --minify --flatten`"
        )
    try:
        if not named and _SERVICE_ACCOUNT.exists():
            return from_service_account(os.environ, anonymous=anonymous)
        return from_kubeconfig(Path(named[0]) if named else Path.home() / ".kube" / "config", anonymous=anonymous)
    except (OSError, KeyError) as error:
        raise AccessError(f"no access to an API server: {type(error).__name__}: {error}") from error


def from_service_account(
    environment: Mapping[str, str],
    folder: Path = _SERVICE_ACCOUNT,
    clock: Callable[[], float] = time.monotonic,
    *,
    anonymous: bool = False,
) -> Access:
    """Return the access of the pod's ServiceAccount. Raises OSError or KeyError outside a pod.

    anonymous: without its token, which need not be there.
    """
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    tls, authority = _trusting(folder / "ca.crt", clock)
    return Access(server, tls, None if anonymous else File(folder / "token", clock), authority)


def from_kubeconfig(path: Path, clock: Callable[[], float] = time.monotonic, *, anonymous: bool = False) -> Access:
    """The current context of a kubeconfig, with a certificate or a token. Raises AccessError or OSError.

    anonymous: the context's cluster without its user.

    Plug-ins (exec, auth-provider) are not run: outside a cluster the operator is developed and tested, and no more.
    """
    try:
        return _current(yaml.safe_load(path.read_text()) or {}, path.parent, clock, anonymous)
    except KeyError as error:
        raise AccessError(f"{path}: {error} is missing") from error
    except (TypeError, AttributeError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise AccessError(f"{path} is invalid: {error}") from error


def _current(config: Mapping[str, Any], folder: Path, clock: Callable[[], float], anonymous: bool) -> Access:
    context = _named(config, "context", config["current-context"])
    cluster = _named(config, "cluster", context["cluster"])
    user = {} if anonymous else _named(config, "user", context["user"])
    for fields, known in ((cluster, _CLUSTER), (user, _USER)):
        if unknown := sorted(fields.keys() - known):
            raise ValueError(f"{unknown[0]} is not supported: {_WAY_OUT}")
    server, token = cluster["server"].rstrip("/"), _token(user, folder, clock)
    if not server.startswith("https://"):
        return Access(server, token=token)
    authority = None
    if cluster.get("certificate-authority") and not cluster.get("certificate-authority-data"):
        tls, authority = _trusting(folder / cluster["certificate-authority"], clock)
    else:
        tls = _context(cadata=_pem(cluster, "certificate-authority", folder) or None)
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if certificate := _pem(user, "client-certificate", folder):
        with tempfile.NamedTemporaryFile("w") as file:  # readable for this user alone; OpenSSL takes nothing but files
            file.write(f"{certificate}\n{_pem(user, 'client-key', folder)}")
            file.flush()
            tls.load_cert_chain(file.name)
    return Access(server, tls, token, authority)


def _context(cafile: Path | None = None, cadata: str | None = None) -> ssl.SSLContext:
    """One that trusts this CA; without one, those of the machine."""
    tls = ssl.create_default_context(cafile=cafile, cadata=cadata)
    # Python 3.13 sets it: a CA must then have key identifiers. That of many a cluster has none (EKS, microk8s), and
    # Go, in which all other clients of a cluster are written, asks for none.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return tls


def _trusting(path: Path, clock: Callable[[], float]) -> tuple[ssl.SSLContext, File]:
    """A context that trusts the CA in a file, and the file, whose changes reach the context.

    A new CA is added, and the old one stays: while a cluster replaces its CA, API servers of both answer.
    """
    # Read before the context loads it: a change in between is then seen a minute later, and not lost.
    authority = File(path, clock, lambda text: tls.load_verify_locations(cadata=text))
    tls = _context(cafile=path)
    return tls, authority


def _named(config: Mapping[str, Any], kind: str, name: str) -> dict[str, Any]:
    found = next((item for item in config[f"{kind}s"] or () if item["name"] == name), None)
    if found is None:
        raise ValueError(f"there is no {kind} {name!r}")
    return dict(found[kind] or {})


def _token(user: Mapping[str, Any], folder: Path, clock: Callable[[], float]) -> File | str | None:
    return File(folder / user["tokenFile"], clock) if "tokenFile" in user else user.get("token")


def _pem(fields: Mapping[str, Any], field: str, folder: Path) -> str:
    """Base64 in the file itself, or the path of another one, from the kubeconfig's folder."""
    if data := fields.get(f"{field}-data"):
        try:
            return base64.b64decode(data).decode()
        except ValueError as error:
            raise ValueError(f"{field}-data is not base64-encoded PEM: {error}") from error
    return (folder / fields[field]).read_text() if fields.get(field) else ""
