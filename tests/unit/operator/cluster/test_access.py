"""Where the operator finds the API server, and what it shows there to say who it is."""

import base64
import contextlib
import datetime
import ipaddress
import os
import ssl

import pytest
import trustme
import yaml
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from onnxmodel_operator.cluster.access import Access, AccessError, File, find, from_kubeconfig, from_service_account
from onnxmodel_operator.cluster.client import connect
from onnxmodel_operator.cluster.errors import ApiError

AUTHORITY = trustme.CA()
PERSON = AUTHORITY.issue_cert("person@example.com")
CA, CERTIFICATE = AUTHORITY.cert_pem.bytes(), PERSON.cert_chain_pems[0].bytes()
KEY = PERSON.private_key_pem.bytes()


def write(folder, cluster, user):
    path = folder / "config"
    whole = {
        "clusters": [{"name": "another", "cluster": {}}, {"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(whole))
    return path


def data(content):
    return base64.b64encode(content).decode()


def without_key_identifiers():
    """As EKS and microk8s make it: the PEM of a CA, and that of a server's certificate with its key."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def certificate(word, owner, extension, critical):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")]),
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, word)]),
            owner.public_key(),
            x509.random_serial_number(),
            now - datetime.timedelta(hours=1),
            now + datetime.timedelta(hours=1),
        ).add_extension(extension, critical)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    secret = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (
        certificate("kubernetes", ca_key, x509.BasicConstraints(True, None), True),
        certificate("kube-apiserver", key, address, False) + key.private_bytes(serialization.Encoding.PEM, *secret),
    )


@pytest.fixture
def strict(monkeypatch):
    """Contexts as Python 3.13 makes them by default; the operator's image has it."""
    real = ssl.create_default_context

    def context(*args, **kwargs):
        tls = real(*args, **kwargs)
        tls.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
        return tls

    monkeypatch.setattr(ssl, "create_default_context", context)


@contextlib.asynccontextmanager
async def api_server(accepts=lambda _: True, certificate=None):
    """The address of one with TLS, and what each request showed: whether a certificate, and which Authorization."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if certificate:
        tls.load_cert_chain(certificate)
    else:
        AUTHORITY.issue_cert("127.0.0.1").configure_cert(tls)
    AUTHORITY.configure_trust(tls)
    tls.verify_mode = ssl.CERT_OPTIONAL
    seen = []

    async def handle(request):
        word = request.headers.get("Authorization")
        seen.append((bool(request.transport.get_extra_info("peercert")), word))
        return web.json_response({"message": "Unauthorized"}, status=200 if accepts(word) else 401)

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("inline", [True, False], ids=["in-the-file", "beside-it"])
async def test_a_kubeconfig_with_a_certificate(tmp_path, monkeypatch, inline):
    async with api_server() as (server, seen):
        fields = (("certificate-authority", CA), ("client-certificate", CERTIFICATE), ("client-key", KEY))
        for name, content in fields:
            (tmp_path / name).write_bytes(content)
        given = {f"{n}-data" if inline else n: data(content) if inline else n for n, content in fields}
        cluster = {name: value for name, value in given.items() if "authority" in name}
        user = {name: value for name, value in given.items() if "authority" not in name}
        monkeypatch.setenv("KUBECONFIG", str(write(tmp_path, {"server": f"{server}/", **cluster}, user)))
        async with connect(find()) as client:
            assert await client.get("Job", "n", "j") is not None
    assert seen == [(True, None)]


@pytest.mark.parametrize("user", ["certificate", "token", "nobody"])
async def test_without_a_credential_only_the_server_is_taken(tmp_path, monkeypatch, user):
    """What the page for users gets: nothing that could be sent in place of a user's token."""
    users = {
        "certificate": {"client-certificate-data": data(CERTIFICATE), "client-key-data": data(KEY)},
        "token": {"token": "secret"},
        "nobody": {"exec": {"command": "login"}},
    }
    async with api_server() as (server, seen):
        cluster = {"server": server, "certificate-authority-data": data(CA)}
        monkeypatch.setenv("KUBECONFIG", str(write(tmp_path, cluster, users[user])))
        async with connect(find(anonymous=True)) as client:
            await client.get("Job", "n", "j")
    assert seen == [(False, None)]


def test_a_pod_without_a_token_has_an_access_without_one(tmp_path):
    (tmp_path / "ca.crt").write_bytes(CA)
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert from_service_account(environment, tmp_path, anonymous=True).headers() == {}
    with pytest.raises(FileNotFoundError):
        from_service_account(environment, tmp_path)
    (tmp_path / "token").write_text("secret")
    assert from_service_account(environment, tmp_path, anonymous=True).headers() == {}


async def test_a_server_of_another_authority_is_not_asked(tmp_path):
    async with api_server() as (server, seen):
        other = trustme.CA().cert_pem.bytes()
        path = write(tmp_path, {"server": server, "certificate-authority-data": data(other)}, {"token": "secret"})
        async with connect(from_kubeconfig(path)) as client:
            with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get("Job", "n", "j")
        assert seen == []
        cluster = {"server": server, "insecure-skip-tls-verify": True}
        async with connect(from_kubeconfig(write(tmp_path, cluster, {"token": "secret"}))) as client:
            await client.get("Job", "n", "j")
    assert seen == [(False, "Bearer secret")]


async def test_a_pods_token_that_is_replaced_is_taken_after_a_refusal(tmp_path):
    (tmp_path / "token").write_text("old\n")
    (tmp_path / "ca.crt").write_bytes(CA)
    valid = "old"
    async with api_server(lambda word: word == f"Bearer {valid}") as (server, seen):
        host, port = server.removeprefix("https://").split(":")
        environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        async with connect(from_service_account(environment, tmp_path)) as client:
            await client.get("Job", "n", "j")
            valid = "new"
            (tmp_path / "token").write_text("new\n")
            with pytest.raises(ApiError, match="Unauthorized"):
                await client.get("Job", "n", "j")
            await client.get("Job", "n", "j")
    assert [word for _, word in seen] == ["Bearer old", "Bearer old", "Bearer new"]


def pod(folder, server):
    """The environment of a pod whose ServiceAccount is this folder."""
    (folder / "token").write_text("t")
    host, port = server.removeprefix("https://").split(":")
    return {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}


@pytest.mark.parametrize("where", ["pod", "kubeconfig"])
async def test_a_ca_without_key_identifiers_is_as_good(tmp_path, strict, where):
    authority, certificate = without_key_identifiers()
    (tmp_path / "ca.crt").write_bytes(authority)
    (tmp_path / "server.pem").write_bytes(certificate)
    async with api_server(certificate=tmp_path / "server.pem") as (server, _):
        cluster = {"server": server, "certificate-authority": "ca.crt"}
        access = (
            from_service_account(pod(tmp_path, server), tmp_path)
            if where == "pod"
            else from_kubeconfig(write(tmp_path, cluster, {"token": "t"}))
        )
        async with connect(access) as client:
            assert await client.get("Job", "n", "j") is not None


@pytest.mark.parametrize("where", ["pod", "kubeconfig"])
async def test_a_ca_that_is_replaced_is_trusted_within_a_minute_and_the_old_one_still(tmp_path, where):
    now, other = 0.0, trustme.CA().cert_pem.bytes()
    (tmp_path / "ca.crt").write_bytes(other)
    async with api_server() as (server, seen):
        cluster = {"server": server, "certificate-authority": "ca.crt"}
        access = (
            from_service_account(pod(tmp_path, server), tmp_path, lambda: now)
            if where == "pod"
            else from_kubeconfig(write(tmp_path, cluster, {"token": "t"}), lambda: now)
        )
        async with connect(access) as client:
            for content in (other, b"", b"-----BEGIN CERTIFICATE-----\nhalf"):
                (tmp_path / "ca.crt").write_bytes(content)
                now += 60.0
                with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                    await client.get("Job", "n", "j")
            (tmp_path / "ca.crt").write_bytes(CA)
            now += 60.0
            await client.get("Job", "n", "j")
    assert seen == [(False, "Bearer t")]
    assert len(access.tls.get_ca_certs()) == 2


def test_a_token_is_read_again_each_minute_and_kept_where_that_fails(tmp_path):
    path, now = tmp_path / "token", 0.0
    path.write_text("one")
    token = File(path, lambda: now)
    path.write_text("two")
    now = 59.0
    assert token() == "one"
    now = 60.0
    assert token() == "two"
    path.unlink()
    now = 120.0
    assert token() == "two"


def test_an_ipv6_address_has_brackets(tmp_path):
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_bytes(CA)
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = from_service_account(environment, tmp_path)
    assert access.server == "https://[fd00::1]:443"
    assert access.headers() == {"Authorization": "Bearer t"}


def test_without_tls_and_with_a_token_file_beside_it(tmp_path):
    (tmp_path / "here").write_text("t")
    access = from_kubeconfig(write(tmp_path, {"server": "http://127.0.0.1:1"}, {"tokenFile": "here"}))
    assert (access.server, access.tls, access.headers()["Authorization"]) == ("http://127.0.0.1:1", None, "Bearer t")
    assert Access("http://127.0.0.1:1").headers() == {}


@pytest.mark.parametrize(
    ("cluster", "user", "word"),
    [
        ({}, {"exec": {"command": "aws"}}, "exec is not supported.*kubectl proxy"),
        ({}, {"username": "me"}, "username is not supported"),
        ({}, {"token-data": "t"}, "token-data is not supported"),
        ({"proxy-url": "http://y"}, {}, "proxy-url is not supported.*kubectl proxy"),
        ({"server-data": "https://y"}, {}, "server-data is not supported"),
        ({"certificate-authority-data": "x"}, {}, "certificate-authority-data is not base64-encoded PEM"),
        ({"certificate-authority-data": "eHh4"}, {}, "SSLError"),
        ({}, {"client-certificate-data": "/w=="}, "client-certificate-data is not base64-encoded PEM"),
        ({}, {"client-certificate": "none"}, "none"),
    ],
)
def test_what_would_be_ignored_or_cannot_be_read_is_refused_by_name(tmp_path, monkeypatch, cluster, user, word):
    monkeypatch.setenv("KUBECONFIG", str(write(tmp_path, {"server": "https://x", **cluster}, user)))
    with pytest.raises(AccessError, match=word):
        find()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (None, "'current-context' is missing"),
        ("text", "is invalid"),
        ({"current-context": "y"}, "there is no context 'y'"),
        ({"users": None}, "there is no user 'u'"),
        ({"clusters": [None]}, "is invalid"),
        ({"clusters": [{"name": "c", "cluster": None}]}, "'server' is missing"),
        ({"clusters": [{"name": "c", "cluster": {"server": 1}}]}, "is invalid"),
    ],
)
def test_a_kubeconfig_that_is_none_is_said(tmp_path, monkeypatch, change, word):
    path = write(tmp_path, {"server": "https://x"}, {})
    whole = {**yaml.safe_load(path.read_text()), **change} if isinstance(change, dict) else change
    path.write_text("" if whole is None else yaml.safe_dump(whole))
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(AccessError, match=word):
        find()


def test_a_user_without_credentials_is_one(tmp_path):
    assert from_kubeconfig(write(tmp_path, {"server": "http://x"}, None)).headers() == {}


def test_which_file_is_read_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(AccessError, match="none"):
        find()
    path = write(tmp_path, {"server": "http://x"}, {})
    monkeypatch.setenv("KUBECONFIG", f"{path}{os.pathsep}")
    assert find().server == "http://x"
    monkeypatch.setenv("KUBECONFIG", f"{path}{os.pathsep}{path}")
    with pytest.raises(AccessError, match="several files"):
        find()


def test_a_kubeconfig_that_is_nested_too_deeply_is_said(tmp_path, monkeypatch):
    (tmp_path / "config").write_text("[" * 20_000)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(AccessError, match="is invalid"):
        find()
