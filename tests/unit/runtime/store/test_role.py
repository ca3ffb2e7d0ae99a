"""A store without keys: what a container sends to the token service, and what it says where that refuses."""

import base64
import json
import time

import pytest
from botocore.exceptions import EndpointConnectionError
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from onnxmodel_runtime.contract.store import PullRequest, PushRequest, Wanted
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.stages.pull import pull
from onnxmodel_runtime.stages.push import push
from onnxmodel_runtime.store.objects import of_service
from tests.sts import Role, serving
from tests.unit.runtime.store_support import KEYS

ARN = "arn:aws:iam::111122223333:role/artifacts"
ISSUER, SUBJECT = "https://cluster.example.com", "system:serviceaccount:team-a:default"
FOLDER = f"source/{'a' * 16}"
KEY = rsa.generate_private_key(65537, 2048)


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _number(number: int) -> str:
    return _text(number.to_bytes(256, "big").lstrip(b"\0"))


JWKS = {
    "keys": [
        {
            "kty": "RSA",
            "kid": "1",
            "e": _number(KEY.public_key().public_numbers().e),
            "n": _number(KEY.public_key().public_numbers().n),
        }
    ]
}


def token(kid: str = "1", **claims: object) -> str:
    """A token as an API server issues it."""
    said = {"iss": ISSUER, "aud": ["sts.amazonaws.com"], "sub": SUBJECT, "exp": int(time.time()) + 600, **claims}
    signed = ".".join(_text(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": kid}, said))
    return f"{signed}.{_text(KEY.sign(signed.encode(), PKCS1v15(), SHA256()))}"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr("onnxmodel_runtime.stages.pull._SECONDS", 0.5)


@pytest.fixture
def role(no_keys, tmp_path, monkeypatch):
    """The environment of a container with the token, as the operator writes it."""
    with serving(Role(ARN, JWKS, ISSUER, "system:serviceaccount:team-a:.*", KEYS)) as running:
        (tmp_path / "token").write_text(token())
        monkeypatch.setenv("AWS_ROLE_ARN", ARN)
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", running.url)
        yield running


def left(root):
    folder = root / FOLDER
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"model")
    return root


def test_the_token_of_the_account_takes_the_place_of_keys(store, role, tmp_path):
    bucket = store.model()
    push(PushRequest(bucket, (FOLDER,), str(left(tmp_path / "there"))), pause=lambda _: None)
    pull(PullRequest(bucket, (Wanted(FOLDER),), str(tmp_path / "here")))
    assert (tmp_path / "here" / FOLDER / "model.onnx").read_bytes() == b"model"
    assert role.taken == [SUBJECT, SUBJECT]


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"sub": "system:serviceaccount:team-b:default"}, "team-b:default .* AccessDenied"),
        ({"aud": ["vault"]}, r"audience vault\): InvalidIdentityToken"),
        ({"iss": "https://elsewhere"}, r"issuer https://elsewhere, .*InvalidIdentityToken"),
        ({"exp": 1}, "ExpiredTokenException"),
        ({"kid": "2"}, "no key of the issuer has signed it"),
    ],
)
def test_a_role_that_does_not_trust_the_account_is_said_with_what_the_token_says(store, role, tmp_path, claims, said):
    (tmp_path / "token").write_text(token(**claims))
    with pytest.raises(StageError, match=f"the token service refuses system:serviceaccount:.*{said}") as caught:
        pull(PullRequest(store.model(), (Wanted(FOLDER),), str(tmp_path)), pause=lambda _: None)
    assert (caught.value.failure.reason, caught.value.retry) == ("StoreForbidden", True)
    assert "settings.artifacts.s3.webIdentity" in caught.value.failure.hint
    assert role.taken == []


def test_a_role_without_rights_is_not_said_to_have_keys(store, role, tmp_path, monkeypatch):
    monkeypatch.setattr(role, "keys", {**KEYS, "AWS_SECRET_ACCESS_KEY": "wrong"})
    with pytest.raises(StageError) as caught:
        pull(PullRequest(store.model(), (Wanted(FOLDER),), str(tmp_path)), pause=lambda _: None)
    assert caught.value.failure.reason == "StoreForbidden"
    assert "the role of settings.artifacts.s3.webIdentity" in caught.value.failure.hint


@pytest.mark.parametrize("status", [503, 429])
def test_a_token_service_that_fails_is_named(store, role, tmp_path, status):
    role.failing = status
    with pytest.raises(StageError, match=f"the token service returned {status}") as caught:
        pull(PullRequest(store.model(), (Wanted(FOLDER),), str(tmp_path)), pause=lambda _: None)
    assert (caught.value.failure.reason, caught.value.retry) == ("StoreUnavailable", True)
    assert caught.value.failure.field == "settings.artifacts.s3.webIdentity.endpoint"
    assert "Check that the token service is up" in caught.value.failure.hint


def test_a_token_service_that_is_away_is_tried_again(store, role, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    with pytest.raises(StageError, match=r"the token service does not answer: .*127\.0\.0\.1:1") as caught:
        pull(PullRequest(store.model(), (Wanted(FOLDER),), str(tmp_path)), pause=lambda _: None)
    assert (caught.value.failure.reason, caught.value.retry) == ("StoreUnavailable", True)


@pytest.mark.parametrize(
    ("service", "asked", "store", "is_the_service"),
    [
        ("", "https://sts.eu-west-1.amazonaws.com", "", True),
        ("", "https://artifacts.s3.eu-west-1.amazonaws.com/", "", False),
        ("https://minio.example.com", "https://minio.example.com/", "https://minio.example.com:9000", True),
        ("https://minio.example.com", "https://minio.example.com:9000/", "https://minio.example.com:9000", False),
        ("https://minio.example.com", "https://minio.example.com/", "https://minio.example.com/", False),
    ],
)
def test_what_does_not_answer(role, monkeypatch, service, asked, store, is_the_service):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service)
    error = EndpointConnectionError(endpoint_url=asked)
    assert of_service(error, store) is is_the_service
    monkeypatch.delenv("AWS_WEB_IDENTITY_TOKEN_FILE")
    assert not of_service(error, store), "a store with keys needs no token service"
