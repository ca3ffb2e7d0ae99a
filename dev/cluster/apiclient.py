"""A small client of the API server: this code runs before any virtual environment exists."""

import http.client
import json
import ssl
from pathlib import Path
from typing import Any


class ApiError(Exception):
    """The API server refused, or did not answer."""


class Api:
    """Speaks to one API server with a client certificate from a folder that holds ca.crt, NAME.crt and NAME.key."""

    def __init__(self, host: str, port: int, pki: Path, name: str = "admin") -> None:
        self._host, self._port, self._pki, self._name = host, port, pki, name

    def get(self, path: str) -> Any:
        """The object or text at this path."""
        return self._request("GET", path)

    def patch_status(self, path: str, status: dict[str, Any]) -> None:
        """Merge these fields into an object's status."""
        self._request("PATCH", f"{path}/status", {"status": status}, "application/merge-patch+json")

    def apply(self, path: str, manifest: dict[str, Any]) -> None:
        """Create or update an object by server-side apply."""
        query = "?fieldManager=onnxmodel-cluster&force=true"
        self._request(
            "PATCH", f"{path}/{manifest['metadata']['name']}{query}", manifest, "application/apply-patch+yaml"
        )

    def ready(self) -> bool:
        """Return whether the API server serves."""
        try:
            self._request("GET", "/readyz")
        except ApiError:
            return False
        return True

    def _request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        try:
            context = ssl.create_default_context(cafile=str(self._pki / "ca.crt"))
            context.load_cert_chain(self._pki / f"{self._name}.crt", self._pki / f"{self._name}.key")
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=10, context=context)
            try:
                connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": kind})
                response = connection.getresponse()
                text = response.read().decode()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{method} {path}: {error}") from error
        if response.status >= 300:
            raise ApiError(f"{method} {path}: {response.status} {text}")
        return json.loads(text) if text.startswith("{") else text
