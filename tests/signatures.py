"""Signed models for the end-to-end tests, by the library that publishers use."""

from dataclasses import dataclass
from pathlib import Path

import model_signing
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


@dataclass(frozen=True)
class Signed:
    """A folder's files, the signature over them, and the key that it fits."""

    content: dict[str, bytes]
    signature: bytes
    public_key: str


def sign_folder(work: Path, content: dict[str, bytes]) -> Signed:
    """Sign these files as a folder, with a key of its own. work: an empty folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, signature, folder = work / "key", work / "model.sig", work / "model"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    model_signing.signing.Config().use_elliptic_key_signer(private_key=private).sign(folder, signature)
    return Signed(content, signature.read_bytes(), _pem(key))


def another_public_key() -> str:
    """A key that signed nothing."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
