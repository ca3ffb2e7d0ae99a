"""Sessions for the clients of Google and Azure, which use requests: one host, no redirects, nothing from a .netrc."""

import os
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from onnxmodel_runtime.sources import network
from onnxmodel_runtime.sources.source import rejected, shown


class GuardedAdapter(HTTPAdapter):
    """Holds each request to the policy by its name too, which a proxy would resolve, and takes no redirect.

    A store's API does not redirect; a client that followed one might take its credentials along.
    """

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send one request."""
        url = request.url or ""
        network.check_url(url)
        # requests knows a variable of its own only, the other clients the usual one.
        trusted = os.environ.get("SSL_CERT_FILE") or verify
        response = super().send(request, stream, timeout, trusted, cert, proxies)
        if response.is_redirect:
            response.close()
            target = shown(str(response.headers.get("Location")))
            raise rejected(f"{urlsplit(url).hostname} redirects to {target}", "Use the store's own address.")
        return response


def guard(session: requests.Session) -> None:
    """Make a session that a client library uses keep to the above."""
    session.mount("https://", GuardedAdapter())
    session.mount("http://", GuardedAdapter())
    session.auth = _nothing


def _nothing(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request  # with no auth at all, requests would look into ~/.netrc
