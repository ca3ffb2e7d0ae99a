"""The guard under every client: each trick by which a source might lead a fetch where it must not go."""

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxmodel_runtime.contract.fetch import SourcePolicy
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources.network import Guard, guarded
from tests.unit.runtime.source_support import HERE, Site, get, redirects, refused, rejected, sends, serving

pytestmark = pytest.mark.usefixtures("plain_environment")
NOWHERE = SourcePolicy()


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """A resolver that answers with these, one after the other. It stands in for a name server that an attacker owns."""
    asked: list[str] = []
    left = list(addresses)

    def resolve(host: str, port: Any, *_args: Any, **_options: Any) -> list[Any]:
        asked.append(str(host))
        address = left.pop(0) if len(left) > 1 else left[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, int(port)))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


# ---- addresses -------------------------------------------------------------------------------------------------------

NEVER = [
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("::1", "loopback"),
    ("169.254.169.254", "metadata"),
    ("169.254.170.2", "metadata"),
    ("100.100.100.200", "metadata"),
    ("168.63.129.16", "metadata"),
    ("fd00:ec2::254", "metadata"),
    ("fd20:ce::254", "metadata"),
    ("169.254.1.1", "link-local"),
    ("fe80::1", "link-local"),
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "unspecified"),
    ("::", "unspecified"),
    ("224.0.0.1", "multicast"),
    ("ff02::1", "multicast"),
    ("255.255.255.255", "reserved"),
    ("::ffff:169.254.169.254", "169.254.169.254"),
    ("::ffff:127.0.0.1", "127.0.0.1"),
    ("::127.0.0.1", "127.0.0.1"),
    ("2002:7f00:1::", "127.0.0.1"),
    ("2002:a9fe:a9fe::1", "169.254.169.254"),
    ("64:ff9b::a9fe:a9fe", "169.254.169.254"),
    ("64:ff9b::127.0.0.1", "127.0.0.1"),
    ("64:ff9b:1::a9fe:a9fe", "reserved"),
    ("2001:0:4136:e378:8000:63bf:80ff:fffe", "127.0.0.1"),  # Teredo hides the client's address inverted
    ("2001:db8::5efe:7f00:1", "127.0.0.1"),
]


@pytest.mark.parametrize(("address", "word"), NEVER)
def test_addresses_that_are_never_asked(address: str, word: str) -> None:
    with pytest.raises(StageError) as caught:
        Guard(NOWHERE).check_address(ipaddress.ip_address(address))
    assert word in caught.value.failure.message
    assert "policy.sources.networks" in caught.value.failure.hint
    Guard(SourcePolicy(networks=("0.0.0.0/0", "::/0"))).check_address(ipaddress.ip_address(address))


PRIVATE = [
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "fc00::1",
    "fd12::1",
    "::ffff:10.1.2.3",
    "64:ff9b::a01:203",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_asked_where_the_policy_lets_them(address: str) -> None:
    one = ipaddress.ip_address(address)
    Guard(NOWHERE).check_address(one)
    with pytest.raises(StageError, match="private network") as caught:
        Guard(SourcePolicy(private_networks=False)).check_address(one)
    assert "privateNetworks" in caught.value.failure.hint


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:4700::1111", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"])
def test_public_addresses_are_asked(address: str) -> None:
    Guard(SourcePolicy(private_networks=False)).check_address(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "0",
        "[::1]",
        "127.0.0.1.",
    ],
)
def test_addresses_in_other_notations_are_the_same(tmp_path: Path, host: str) -> None:
    with pytest.raises(StageError, match=r"loopback|unspecified"):
        Guard(NOWHERE).check_host(host)
    rejected(f"http://{host}:1/m.onnx", tmp_path / "model", policy=NOWHERE)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "any.localhost", "metadata.google.internal", "Metadata"])
def test_names_that_can_only_mean_the_node(host: str) -> None:
    with pytest.raises(StageError):
        Guard(NOWHERE).check_host(host)


# ---- hosts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["models.example.com", "MODELS.Example.COM", "models.example.com.", "a.b.example.org"])
def test_hosts_on_the_list(host: str) -> None:
    Guard(SourcePolicy(hosts=("models.example.com", "*.Example.org"))).check_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "evil.example.com",
        "models.example.com.evil",
        "evil-models.example.com",
        "evil-example.org",
        "example.org",  # "*.example.org" is what is below it
        "xexample.org",
        "example.org.evil.com",
        "models.example.com%00.evil",
        "mödels.example.com",
        "93.184.215.14",
        "",
    ],
)
def test_hosts_off_the_list(host: str) -> None:
    with pytest.raises(StageError) as caught:
        Guard(SourcePolicy(hosts=("models.example.com", "*.example.org"))).check_host(host)
    assert "policy.sources.hosts" in caught.value.failure.hint


def test_the_host_list_holds_for_redirects(site: Site, tmp_path: Path) -> None:
    policy = SourcePolicy(hosts=("127.0.0.1",), networks=("127.0.0.0/8",))
    site.routes |= {"/m.onnx": redirects(site.url("/n.onnx", host="localhost")), "/n.onnx": sends()}
    rejected(site.url("/m.onnx"), tmp_path / "model", "localhost", "hosts", policy=policy)
    assert len(site.seen) == 1


def test_schemes(site: Site, tmp_path: Path) -> None:
    policy = SourcePolicy(schemes=("https", "s3"), networks=HERE.networks)
    for uri in (site.url("/m.onnx"), "pvc://claim/model.onnx", "hf://org/name/m.onnx"):
        rejected(uri, tmp_path / "model", "policy.sources.schemes", policy=policy)
    assert site.seen == []


def test_schemes_hold_for_redirects(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = redirects("https://127.0.0.1:1/m.onnx")
    rejected(
        site.url("/m.onnx"), tmp_path / "model", "https", policy=SourcePolicy(schemes=("http",), networks=HERE.networks)
    )


# ---- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://0.0.0.0:1/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[::1]:1/",
        "//169.254.169.254/",
        "http://metadata.google.internal/",
        "http://127.0.0.1@169.254.169.254/",
        "http://user:secret@127.0.0.1/",
        "http://127.0.0.1\\@169.254.169.254/",
        "http://127.0.0.1 @169.254.169.254/",
        "http://127.0.0.1\t.evil/",
    ],
)
def test_a_redirect_leads_nowhere_else(site: Site, tmp_path: Path, target: str) -> None:
    site.routes["/m.onnx"] = redirects(target)
    error = rejected(site.url("/m.onnx"), tmp_path / "model", policy=SourcePolicy(networks=("127.0.0.0/8",)))
    assert len(site.seen) == 1
    assert "secret@" not in error.failure.message


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/m.onnx", "gopher://x/", "data:,x", "unix:/x"]
)
def test_a_redirect_stays_on_the_web(site: Site, tmp_path: Path, target: str) -> None:
    site.routes["/m.onnx"] = redirects(target)
    error = refused(site.url("/m.onnx"), tmp_path / "model")
    assert (error.failure.reason, error.retry) == ("SourceInvalid", False)


def test_a_server_on_this_machine_is_no_source_by_default(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = sends()
    for host in ("127.0.0.1", "localhost"):
        rejected(site.url("/m.onnx", host), tmp_path / "model", "loopback", policy=NOWHERE)
    assert site.seen == []


def test_a_person_may_ask_this_machine_and_nothing_more(site: Site, tmp_path: Path) -> None:
    site.routes |= {"/m.onnx": sends(), "/n.onnx": redirects("http://169.254.169.254/")}
    get(site.url("/m.onnx"), tmp_path / "model", policy=NOWHERE, local=True)
    rejected(site.url("/n.onnx"), tmp_path / "other", "metadata", policy=NOWHERE, local=True)


@pytest.mark.parametrize("host", ["http://allowed.example@127.0.0.1:1/m", "http://allowed.example\\@127.0.0.1:1/m"])
def test_a_user_in_front_of_the_host_is_no_host(tmp_path: Path, host: str) -> None:
    policy = SourcePolicy(hosts=("allowed.example",))
    assert refused(host, tmp_path / "model", policy=policy).failure.reason in ("SourceInvalid", "SourceRejected")


# ---- what is dialled -------------------------------------------------------------------------------------------------


def test_a_name_of_the_machine(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.routes["/m.onnx"] = sends()
    answers(monkeypatch, "127.0.0.1")
    rejected(
        site.url("/m.onnx", "models.example.com"), tmp_path / "model", "models.example.com", "127.0.0.1", policy=NOWHERE
    )
    assert site.seen == []


def test_a_name_that_changes_its_address(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked up first does not matter: the address that is dialled is looked at."""
    asked = answers(monkeypatch, "192.0.2.1", "127.0.0.1")
    site.routes["/m.onnx"] = sends()
    connected: list[Any] = []
    connect = socket.socket.connect

    def no_route(self: socket.socket, peer: Any) -> None:
        if peer[0] == "192.0.2.1":
            connected.append(peer)
            raise TimeoutError("timed out")
        connect(self, peer)

    monkeypatch.setattr(socket.socket, "connect", no_route)
    rejected(site.url("/m.onnx", "rebind.example.com"), tmp_path / "model", "loopback", policy=NOWHERE)
    assert len(asked) == 2
    assert connected
    assert site.seen == []


def test_what_is_no_internet_socket_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        with pytest.raises(StageError, match="not a network address"), guarded(HERE):
            client.connect(path)
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(path)  # no guard, no rule


def wrapping() -> None:
    try:
        socket.create_connection(("127.0.0.1", 1))
    except StageError as error:
        raise OSError("the library's own words") from error


def test_a_refusal_that_a_library_swallows_is_one_still() -> None:
    with pytest.raises(StageError, match="loopback"), guarded(NOWHERE), contextlib.suppress(StageError):
        socket.create_connection(("127.0.0.1", 1))
    with pytest.raises(StageError, match="loopback"), guarded(NOWHERE):
        wrapping()


def test_datagrams_are_no_way_out() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        with pytest.raises(StageError), guarded(NOWHERE):
            sender.sendto(b"x", ("127.0.0.1", 9))
        with pytest.raises(StageError), guarded(NOWHERE):
            sender.sendmsg([b"x"], [], 0, ("127.0.0.1", 9))


# ---- proxies ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A proxy that answers by itself, to see what it is asked for."""
    monkeypatch.delenv("no_proxy")
    with serving() as site:
        site.default = sends()
        monkeypatch.setenv("http_proxy", site.url("", "127.0.0.1").replace("//", "//user:pass@"))
        yield site


def test_a_proxy_is_used_and_told_who_we_are(proxy: Site, tmp_path: Path) -> None:
    get("http://models.example.com/m.onnx", tmp_path / "model")
    assert proxy.seen == [("http://models.example.com/m.onnx", None)]
    assert proxy.headers[0]["proxy-authorization"].startswith("Basic ")


def test_a_proxy_is_an_address_as_any_other(proxy: Site, tmp_path: Path) -> None:
    rejected("http://models.example.com/m.onnx", tmp_path / "model", "127.0.0.1", policy=NOWHERE)
    assert proxy.seen == []


@pytest.mark.parametrize("host", ["169.254.169.254", "0xa9fea9fe", "metadata.google.internal", "[::ffff:7f00:2]"])
def test_a_proxy_does_not_go_where_we_may_not(proxy: Site, tmp_path: Path, host: str) -> None:
    policy = SourcePolicy(networks=("127.0.0.1/32",))
    rejected(f"http://{host}/m.onnx", tmp_path / "model", policy=policy)
    assert proxy.seen == []


def test_a_proxy_asks_hosts_of_the_list_alone(proxy: Site, tmp_path: Path) -> None:
    policy = SourcePolicy(hosts=("127.0.0.1", "models.example.com"), networks=HERE.networks)
    get("http://models.example.com/m.onnx", tmp_path / "model", policy=policy)
    rejected("http://evil.example.com/m.onnx", tmp_path / "other", "evil.example.com", policy=policy)
    assert len(proxy.seen) == 1


# ---- the other clients' own ways -------------------------------------------------------------------------------------

CLIENTS = [
    ("s3://models/m.onnx", {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}, "AWS_ENDPOINT_URL"),
    ("gs://models/m.onnx", {}, "STORAGE_EMULATOR_HOST"),
    ("az://account/models/m.onnx", {"AZURE_STORAGE_KEY": "a2V5"}, "AZURE_STORAGE_ENDPOINT"),
    ("hf://org/name/m.onnx", {}, "HF_ENDPOINT"),
]


@pytest.mark.filterwarnings("ignore::ImportWarning")
@pytest.mark.parametrize(("uri", "secrets", "variable"), CLIENTS)
def test_an_endpoint_from_the_secret_is_a_host_as_any_other(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, secrets: dict[str, str], variable: str
) -> None:
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(variable, site.url(""))
    rejected(uri, tmp_path / "model", "127.0.0.1", "loopback", policy=NOWHERE)
    monkeypatch.setenv(variable, "http://169.254.169.254")
    rejected(uri, tmp_path / "model", "metadata", policy=HERE)
    monkeypatch.setenv(variable, "https://evil.example.com")
    rejected(uri, tmp_path / "model", "evil.example.com", policy=SourcePolicy(hosts=("good.example.com",)))
    assert site.seen == []


@pytest.mark.filterwarnings("ignore::ImportWarning")
@pytest.mark.parametrize(("uri", "secrets", "variable"), CLIENTS)
def test_no_client_follows_a_redirect_to_the_node(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, secrets: dict[str, str], variable: str
) -> None:
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(variable, site.url(""))
    site.default = redirects("http://169.254.169.254/", 307)
    rejected(uri, tmp_path / "model", "169.254.169.254")
    assert len(site.seen) == 1


def test_containers_credentials_of_the_node_are_not_asked_for(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", site.url(""))
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials")
    site.default = sends(b"", 403)
    assert refused("s3://models/m.onnx", tmp_path / "model").failure.reason == "SourceForbidden"
    assert {value for _, value in site.seen} == {None}


@pytest.mark.parametrize("address", ["2001:0:a00:1::5601:5601", "fe80::5efe:10.0.0.1"])
def test_an_allowed_address_inside_allows_no_other(address: str) -> None:
    guard = Guard(SourcePolicy(networks=("10.0.0.0/8",)))
    with pytest.raises(StageError):
        guard.check_address(ipaddress.ip_address(address))
