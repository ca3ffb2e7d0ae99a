"""http(s)://: a file on a web server."""

from urllib.parse import urlsplit

from onnxmodel_runtime.contract.volume import MODEL_FILE
from onnxmodel_runtime.sources.source import Remote, invalid, shown
from onnxmodel_runtime.sources.web import Origin, Web, WebFile, origin, variable


class HttpSource:
    """A file on a web server. The environment's HTTP_AUTHORIZATION goes to the origin of `home` and to no other."""

    loose = False

    def __init__(self, uri: str, home: str = "") -> None:
        parts = urlsplit(uri)
        if not parts.hostname:
            raise invalid(uri, "expected a host")
        if parts.username is not None or parts.password is not None:
            raise invalid(uri, "credentials belong in spec.source.secretRef, not in the URI")
        if parts.path.endswith("/") or not parts.path:
            raise invalid(uri, "a folder cannot be listed over HTTP; use the URI of a file, or s3://, oci:// or pvc://")
        self.uri = uri
        try:
            origin(parts)
            self._home = origin(urlsplit(home or uri))
        except ValueError as error:  # a port that is no number
            raise invalid(uri, str(error)) from error

    @property
    def resolved(self) -> str:
        """The URI, without what a signed one holds."""
        return shown(self.uri)

    def list(self) -> "list[Remote]":
        """List the file. Its size is not known before it arrives."""
        web = Web(self.uri, self._authorization, schemes_bind=True)
        return [Remote(MODEL_FILE, -1, WebFile(lambda headers: web.get(self.uri, headers), web).open)]

    def _authorization(self, asked: Origin) -> str:
        return variable("HTTP_AUTHORIZATION") if asked == self._home else ""
