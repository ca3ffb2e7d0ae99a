"""Authenticate to a registry: Basic, or a token from the place that its WWW-Authenticate header names.

That place is chosen by whoever answers, so it gets the password only when it is the registry itself, a place known for
that registry, one that the platform's list of hosts or the Secret's OCI_AUTH_HOST names; and by https, always.
"""

import base64
import json
import re
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources import network
from onnxmodel_runtime.sources.source import SECRET, forbidden, rejected
from onnxmodel_runtime.sources.web import Origin, Web, WebReply, loopback, origin, read, variable

_KNOWN = {
    "registry-1.docker.io": "auth.docker.io",
    "registry.gitlab.com": "gitlab.com",
    "registry.redhat.io": "registry.redhat.io",
    "registry.suse.com": "scc.suse.com",
}
_TOKEN_BYTES = 1 << 20


class Login:
    """Credentials for one registry, and for it alone. plainly: whoever runs it wants the password sent over plain http."""

    def __init__(self, uri: str, base: str, repository: str, *, with_password: bool, plainly: bool = False) -> None:
        self.uri, self.repository, self._plainly = uri, repository, plainly
        self._registry = origin(urlsplit(base))
        self._basic = ""
        user, password = variable("OCI_USERNAME"), variable("OCI_PASSWORD")
        if with_password and (user or password):
            self._basic = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._header = ""

    def authorization(self, asked: Origin) -> str:
        """Return the Authorization header for an origin."""
        return self._header if asked == self._registry else ""

    def through(self, url: str, ask: Callable[[], WebReply]) -> WebReply:
        """Return the registry's reply at a URL, asked again with what it wants: it says so only when it is asked without.

        Tokens end after minutes, and are for what was asked.
        """
        reply = ask()
        if reply.status != 401 or reply.url != url:  # of another host, it is nothing to log in for
            return reply
        reply.response.close()
        return ask() if self.answer(reply.response.headers.get("WWW-Authenticate", "")) else reply

    def answer(self, challenge: str) -> bool:
        """Prepare the credentials that the registry asks for. False if there are no others to offer."""
        scheme, _, rest = challenge.partition(" ")
        before = self._header
        if scheme.lower() == "basic":
            if self._basic and not self._plainly and self._registry[0] != "https" and not loopback(self._registry[1]):
                raise forbidden(self.uri, "the registry asks for the password over plain http")
            self._header = self._basic
        elif scheme.lower() == "bearer":
            self._header = self._token(dict(re.findall(r'([a-z_]+)="([^"]*)"', rest)))
        return self._header not in ("", before)

    def _token(self, fields: dict[str, str]) -> str:
        realm = fields.get("realm", "")
        parts = urlsplit(realm)
        if not parts.hostname:
            raise rejected(f"{self.uri}: the registry specifies no token server", "Check the registry.")
        try:
            place = origin(parts)
        except ValueError as error:
            raise rejected(
                f"{self.uri}: the registry's token server is not valid: {error}", "Check the registry."
            ) from error
        if place[0] != "https" and place != self._registry and not (loopback(place[1]) and loopback(self._registry[1])):
            raise rejected(
                f"{self.uri}: the registry's token server {realm} does not use https", "Use another registry."
            )
        plainly = self._plainly and place == self._registry
        if self._basic and place[0] != "https" and not loopback(place[1]) and not plainly:
            raise forbidden(self.uri, "the registry asks for the password over plain http")
        basic = self._basic if self._trusted(place) else ""
        if self._basic and not basic:
            raise StageError(
                "SourceLoginElsewhere",
                f"{self.uri}: the registry's token server {place[1]}, which would get the password, is another host",
                f"If that is correct, set OCI_AUTH_HOST to {place[1]} in the Secret that spec.source.secretRef "
                "names, or ask the platform team to add it to settings.policy.sources.hosts.",
                SECRET,
            )
        query = {"scope": fields.get("scope") or f"repository:{self.repository}:pull"}
        if service := fields.get("service"):
            query["service"] = service
        web = Web(self.uri, lambda asked: basic if asked == place else "")
        reply = web.get(f"{realm}{'&' if parts.query else '?'}{urlencode(query)}", redirects=0)
        if reply.status in (400, 401, 403):
            reply.response.close()
            raise forbidden(self.uri, f"{place[1]} returned {reply.status} instead of a token")
        try:
            data = json.loads(read(web.checked(reply), _TOKEN_BYTES))
            token = data.get("token") or data.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise rejected(f"{self.uri}: {place[1]} returned something that is not a token", "Check the registry.")
        return f"Bearer {token}"

    def _trusted(self, place: Origin) -> bool:
        if place == self._registry:
            return True
        host = place[1]
        return host in (_KNOWN.get(self._registry[1]), variable("OCI_AUTH_HOST").lower()) or network.listed(host)
