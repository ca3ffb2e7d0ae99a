"""The rights of a request: those of the token that it brings, or the page's own. One page knows one of the two."""

import ipaddress
import re
from collections.abc import Sequence
from enum import StrEnum


class Auth(StrEnum):
    """The credential of every call to the API server."""

    USER = "User"
    SERVICE_ACCOUNT = "ServiceAccount"


class NoTokenError(Exception):
    """The request has no token that could be passed on. The message says what to do."""


_TOKEN = re.compile(r"Bearer ([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_NO_TOKEN = (
    "this page shows what your own token may see, and the request came without one: open the page through the proxy "
    "that signs you in, and let it pass the header Authorization on (docs/page.md)"
)
_NO_BEARER = "the header Authorization is not one bearer token: let the proxy pass the user's token on (docs/page.md)"


def token_of(auth: Auth, headers: Sequence[str]) -> str:
    """Return the token for the API server, "" for the page's own. Raises NoTokenError.

    headers: the values of Authorization. The page's own account never stands in for a user's token, and a page with an
    account ignores tokens.
    """
    if auth is Auth.SERVICE_ACCOUNT:
        return ""
    if not headers:
        raise NoTokenError(_NO_TOKEN)
    found = _TOKEN.fullmatch(headers[0])
    if len(headers) > 1 or found is None:
        raise NoTokenError(_NO_BEARER)
    return found[1]


def is_expected(host: str, names: Sequence[str]) -> bool:
    """Return whether a page with an account of its own answers requests for this Host.

    Another site's name that was made to point here (DNS rebinding) would let that site's scripts read the page in the
    browser of anybody who can reach it. An address and localhost cannot be such a name.
    """
    name = re.sub(r":\d+$", "", host).strip("[]").lower()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name in names
    return True
