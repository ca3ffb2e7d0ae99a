"""A token service as AWS, MinIO and Ceph have one: it verifies a token of a pod's account, and gives keys for it.

`python -m tests.sts FILE ADDRESS PORT` serves the role of a JSON file, and prints who takes it.

The gateway of the tests knows no sessions, so these are lasting keys, without a session's token.
"""

import base64
import json
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

_ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{AWS_ACCESS_KEY_ID}</AccessKeyId>
<SecretAccessKey>{AWS_SECRET_ACCESS_KEY}</SecretAccessKey><SessionToken></SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
_ERROR = "<ErrorResponse><Error><Code>{code}</Code><Message>{why}</Message></Error></ErrorResponse>"


class RefusedError(Exception):
    """The role does not trust the token: the code of AWS, and why."""


@dataclass
class Role:
    """What may take the role, and the keys that it then has. taken: the subject of each token that did.

    jwks: public keys of the issuer, as /openid/v1/jwks has them. subject: a regular expression.
    failing: the status of every answer, if it is not 0.
    """

    arn: str
    jwks: Mapping[str, Any]
    issuer: str
    subject: str
    keys: Mapping[str, str]
    audience: str = "sts.amazonaws.com"
    taken: list[str] = field(default_factory=list)
    url: str = ""
    failing: int = 0

    def claims(self, token: str) -> Mapping[str, Any]:
        """Verify a token, and return what it says. Raises RefusedError."""
        head, body, signature = token.split(".")
        key = next((key for key in self.jwks["keys"] if key["kid"] == json.loads(_bytes(head))["kid"]), None)
        if key is None:
            raise RefusedError("InvalidIdentityToken", "no key of the issuer has signed it")
        try:
            _verify(key, f"{head}.{body}".encode(), _bytes(signature))
        except InvalidSignature:
            raise RefusedError("InvalidIdentityToken", "its signature is wrong") from None
        said: Mapping[str, Any] = json.loads(_bytes(body))
        if said["exp"] < time.time():
            raise RefusedError("ExpiredTokenException", "it has expired")
        if said["iss"] != self.issuer or self.audience not in said["aud"]:
            raise RefusedError("InvalidIdentityToken", "it is of another issuer, or for another audience")
        return said

    def take(self, asked: Mapping[str, list[str]]) -> str:
        """Answer a request. Raises RefusedError."""
        assert asked["Action"] == ["AssumeRoleWithWebIdentity"]
        subject = self.claims(asked["WebIdentityToken"][0])["sub"]
        if asked["RoleArn"] != [self.arn] or not re.fullmatch(self.subject, subject):
            raise RefusedError("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        self.taken.append(subject)
        print(subject, flush=True)
        return _ANSWER.format(**self.keys)


@contextmanager
def serving(role: Role, address: str = "127.0.0.1", port: int = 0) -> Iterator[Role]:
    """Have a service that knows one role. Its address is in the role."""

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            try:
                if role.failing:
                    raise RefusedError("ServiceUnavailable", "it is away")
                status, text = 200, role.take(asked)
            except RefusedError as error:
                code, why = error.args
                status, text = (
                    role.failing or (403 if code == "AccessDenied" else 400),
                    _ERROR.format(code=code, why=why),
                )
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((address, port), Service)
    role.url = f"http://{address}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield role
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _verify(key: Mapping[str, str], signed: bytes, signature: bytes) -> None:
    """Verify RS256 or ES256, which API servers sign with. Raises InvalidSignature."""
    number = {name: int.from_bytes(_bytes(key[name]), "big") for name in ("e", "n", "x", "y") if name in key}
    if key["kty"] == "RSA":
        RSAPublicNumbers(number["e"], number["n"]).public_key().verify(signature, signed, PKCS1v15(), SHA256())
        return
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    public = EllipticCurvePublicNumbers(number["x"], number["y"], SECP256R1()).public_key()
    public.verify(encode_dss_signature(r, s), signed, ECDSA(SHA256()))


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


if __name__ == "__main__":
    file, where, number = sys.argv[1:]
    with serving(Role(**json.loads(Path(file).read_text())), where, int(number)):
        threading.Event().wait()
