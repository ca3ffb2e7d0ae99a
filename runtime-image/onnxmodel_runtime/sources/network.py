"""Restrict the network of a fetch: one guard under every client library, at the calls that none of them can bypass.

Libraries resolve names, follow redirects, ask for tokens and read proxies from the environment, each in its own way.
All of them end in `socket.getaddrinfo` and `socket.connect`, which Python reports to audit hooks: the guard looks at
the name there, and at the address that is really dialled, so that a name which changes its address between the two wins
nothing. Libraries wrap what a hook raises, so the guard remembers its first refusal and `guarded` raises it again.
"""

import ipaddress
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from onnxmodel_runtime.contract.fetch import SourcePolicy
from onnxmodel_runtime.errors import StageError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LOOPBACK = ("127.0.0.0/8", "::1/128")
_SETTINGS = "settings.policy.sources"
_FIELD = "spec.source.uri"


def _networks(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# First match counts. Nothing that holds a model is at one of these; what is there gives away the node or its credentials.
_NEVER = (
    ("a loopback address", _networks(*LOOPBACK)),
    (
        "an address of a cloud's metadata service",
        _networks(
            "169.254.169.254/32",
            "169.254.170.0/24",  # credentials of containers
            "100.100.100.200/32",
            "168.63.129.16/32",
            "192.0.0.192/32",
            "fd00:ec2::/32",
            "fd20:ce::254/128",
        ),
    ),
    ("a link-local address", _networks("169.254.0.0/16", "fe80::/10", "fec0::/10")),
    ("an unspecified address", _networks("0.0.0.0/8", "::/128")),
    ("a multicast address", _networks("224.0.0.0/4", "ff00::/8")),
    ("a reserved address", _networks("240.0.0.0/4", "64:ff9b:1::/48")),  # the latter hides an IPv4 address anywhere
)
# 100.64.0.0/10 is where some clouds put pods and nodes.
_PRIVATE = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "fc00::/7")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
# A proxy resolves names itself, so names that can only mean one of the above are refused as names too.
_METADATA_NAMES = {
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
}
_ALL = SourcePolicy()


class Guard:
    """A policy in force. refused: the first refusal, whatever a library made of it."""

    def __init__(self, policy: SourcePolicy) -> None:
        self.policy = policy
        self.refused: StageError | None = None
        self._networks = tuple(ipaddress.ip_network(text, strict=False) for text in policy.networks)
        self._patterns = tuple(_plain(pattern) for pattern in policy.hosts)
        self._host = ""  # that was looked up last, for a message that a person recognizes

    def check_scheme(self, scheme: str) -> None:
        """Raise StageError for a scheme that the policy does not allow."""
        if self.policy.schemes and scheme not in self.policy.schemes:
            self._refuse(
                f"the scheme {scheme}:// is not allowed",
                f"Use one of {', '.join(self.policy.schemes)}, or ask the platform team to add {scheme} to "
                f"{_SETTINGS}.schemes.",
            )

    def check_host(self, host: str) -> None:
        """Raise StageError for a host that the policy does not allow, by name or as an address in any notation."""
        name = self._host = _plain(host)
        if (address := _literal(name)) is not None:
            self.check_address(address)
            if self._exempt(address) or str(address) in self._patterns:
                return
        elif name == "localhost" or name.endswith(".localhost"):
            self.check_address(ipaddress.ip_address("127.0.0.1"))
        elif name in _METADATA_NAMES:
            self._refuse(
                f"{name} is the name of a cloud's metadata service, which hosts no models",
                "Use the address of a server that holds models.",
            )
        if self._patterns and not self.names(name):
            self._refuse(
                f"models may not be fetched from the host {name}",
                f"Use one of {', '.join(self.policy.hosts)}, or ask the platform team to add it to {_SETTINGS}.hosts.",
            )

    def names(self, host: str) -> bool:
        """Return whether the policy's list of hosts has this one."""
        return any(_matches(_plain(host), pattern) for pattern in self._patterns)

    def check_address(self, address: Address) -> None:
        """Raise StageError for an address that the policy does not allow, also within an IPv6 address."""
        every = [one for one in (address, *_embedded(address)) if not self._exempt(one)]
        shown = f"{self._host} ({address})" if self._host not in ("", str(address)) else str(address)
        for one in every:
            told = shown if one == address else f"{shown}, which maps to {one},"
            for kind, networks in _NEVER:
                if any(one in network for network in networks):
                    self._refuse(
                        f"{told} is {kind}, from which no model is fetched",
                        "Use the address of a server that holds models; if it must be this one, ask the platform team to "
                        f"add its range to {_SETTINGS}.networks.",
                    )
            if not self.policy.private_networks and any(one in network for network in _PRIVATE):
                self._refuse(
                    f"{told} is an address of a private network, from which models may not be fetched here",
                    f"Use a public server, or ask the platform team to set {_SETTINGS}.privateNetworks, or to add its range "
                    f"to {_SETTINGS}.networks.",
                )

    def check_peer(self, family: int, peer: Any) -> None:
        """Raise StageError for an address that a socket must not reach."""
        if family not in (socket.AF_INET, socket.AF_INET6):
            self._refuse(
                f"a fetch tried to connect to {peer!r}, which is not a network address",
                "Use the address of a server: local sockets are never contacted.",
            )
        address = _literal(str(peer[0]).partition("%")[0])
        if address is None:  # the socket module would resolve it on its way: names are resolved by getaddrinfo, visibly
            self._refuse(
                f"a fetch tried to connect to {peer[0]!r} without resolving it",
                "This is a bug in onnxmodel: please report it.",
            )
        else:
            self.check_address(address)

    def _exempt(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _refuse(self, message: str, hint: str) -> None:
        refusal = StageError("SourceRejected", message, hint, _FIELD)
        self.refused = self.refused or refusal
        raise refusal


_active: list[Guard] = []
_installed = False


@contextmanager
def guarded(policy: SourcePolicy = _ALL) -> Iterator[Guard]:
    """Hold the whole process to `policy`. Any error that follows a refusal becomes that refusal, a swallowed one too."""
    global _installed
    if not _installed:  # a hook cannot be removed, so it is one, which does nothing while no guard is active
        sys.addaudithook(_audit)
        _installed = True
    guard = Guard(policy)
    _active.append(guard)
    try:
        yield guard
    except Exception as error:
        if guard.refused is None or guard.refused is error:
            raise
        raise guard.refused from error
    else:
        if guard.refused is not None:
            raise guard.refused
    finally:
        _active.remove(guard)


def check_url(url: str) -> None:
    """Hold the host of a URL to the policy in force. Needed beside the hook where a proxy would resolve the name."""
    for guard in _active:
        guard.check_host(urlsplit(url).hostname or "")


def listed(host: str) -> bool:
    """Return whether the policy in force names this host, which is more than to allow every host."""
    return bool(_active) and all("*" not in guard.policy.hosts and guard.names(host) for guard in _active)


def check_scheme(scheme: str) -> None:
    """Hold a scheme to the policy in force."""
    for guard in _active:
        guard.check_scheme(scheme)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if not _active or not event.startswith("socket."):
        return
    for guard in tuple(_active):
        if event in ("socket.getaddrinfo", "socket.gethostbyname"):
            if args[0]:
                guard.check_host(args[0].decode("latin-1") if isinstance(args[0], bytes) else str(args[0]))
        elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and args[1] is not None:
            try:
                guard.check_peer(int(args[0].family), args[1])
            except StageError:
                args[0].close()  # libraries do so for an OSError only
                raise


def _plain(host: str) -> str:
    """A host as it is compared: lower case, no final dot, no brackets or zone, ASCII."""
    name = host.strip("[]").lower()
    if ":" in name:
        name = name.partition("%")[0]
    if not name.isascii():
        try:
            name = name.encode("idna").decode().lower()
        except UnicodeError:
            return name  # it matches nothing and resolves to nothing
    return name.removesuffix(".")


def _matches(name: str, pattern: str) -> bool:
    return pattern == "*" or (name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern)


def _literal(name: str) -> Address | None:
    """An address in any notation that a resolver takes: 2130706433, 0x7f.1 and 0177.0.0.1 are 127.0.0.1 too."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        pass
    if re.fullmatch(r"[0-9a-fx.]+", name):
        try:
            return ipaddress.IPv4Address(socket.inet_aton(name))
        except OSError:
            pass
    return None


def _embedded(address: Address) -> tuple[Address, ...]:
    """The IPv4 addresses that traffic to an IPv6 address may end at."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    if (inner := address.ipv4_mapped or address.sixtofour) is not None:
        return (inner,)
    if address.teredo is not None:
        return address.teredo
    last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    isatap = (int(address) >> 32) & 0xFDFFFFFF == 0x5EFE
    if address in _NAT64 or isatap or (address in _COMPATIBLE and int(address) > 0xFFFF):
        return (last,)
    return ()
