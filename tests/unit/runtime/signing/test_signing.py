"""Signatures made by the library itself, with keys of the test, and every way in which a model can differ from them."""

import base64
import hashlib
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import model_signing
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sigstore.models import TrustedRoot

from onnxmodel_runtime.contract.validate import SignatureRule, ValidateRequest, ValidateResult
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.signing import signature
from onnxmodel_runtime.stages import apart
from onnxmodel_runtime.stages.validate import validate
from tests import models

IDENTITY = "release@models.example.com"
ISSUER = "https://accounts.example.com"


def save_key(folder: Path, key: Any = None) -> Path:
    """A key pair as KEY and KEY.pub."""
    folder.mkdir(parents=True, exist_ok=True)
    key = key or ec.generate_private_key(ec.SECP256R1())
    (folder / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pub").write_bytes(public)
    return folder / "key"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_key(tmp_path_factory.mktemp("keys"))


def publisher(folder: Path) -> Path:
    """What the publisher has: a model with its weights beside it, and a file of documentation in a folder."""
    folder.mkdir(parents=True)
    models.save_external(folder)
    (folder / "docs").mkdir()
    (folder / "docs" / "card.md").write_text("# A card\n")
    return folder


def sign(model: Path, signature: Path, key: Path, how: model_signing.hashing.Config | None = None) -> Path:
    config = model_signing.signing.Config().use_elliptic_key_signer(private_key=key)
    if how is not None:
        config.set_hashing_config(how)
    config.sign(model, signature)
    return signature


def fetched(source: Path, signature: Path | None, directory: Path) -> Path:
    """The directory as fetch leaves it: the source's files, the signature, and notes that nobody signed."""
    single = source.is_file()
    directory.mkdir(parents=True)
    if single:
        shutil.copy(source, directory / "model.onnx")
    else:
        shutil.copytree(source, directory, dirs_exist_ok=True)
    if signature is not None:
        shutil.copy(signature, directory / ".signature")
    (directory / ".golden").mkdir()
    (directory / ".golden" / "input_0.npz").write_bytes(b"numbers")
    (directory / ".golden.npz").write_bytes(b"numbers")
    names = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    uri = "s3://models/a/published.onnx" if single else "s3://models/a/"
    record = {"uri": uri, "sha256": "0" * 64, "files": {name: {"sha256": "0" * 64, "bytes": 1} for name in names}}
    (directory / "source.json").write_text(json.dumps(record))
    return directory


def check(directory: Path, public_key: Path | str) -> str:
    return signature.verify(ValidateRequest(str(directory), signature=SignatureRule(public_key=str(public_key)))).by


def refused(directory: Path, rule: SignatureRule | Path) -> StageError:
    rule = rule if isinstance(rule, SignatureRule) else SignatureRule(public_key=str(rule))
    with pytest.raises(StageError) as caught:
        signature.verify(ValidateRequest(str(directory), signature=rule))
    assert caught.value.failure.hint
    assert not caught.value.retry
    return caught.value


@pytest.fixture
def folder(tmp_path: Path, key: Path) -> Path:
    """A signed folder, fetched."""
    source = publisher(tmp_path / "published")
    return fetched(source, sign(source, tmp_path / "model.sig", key), tmp_path / "fetched")


@pytest.fixture
def single(tmp_path: Path, key: Path) -> Path:
    """One signed file, published under a name of its own, fetched."""
    source = models.save(models.mlp(), tmp_path / "published").rename(tmp_path / "classifier-v3.onnx")
    return fetched(source, sign(source, tmp_path / "model.sig", key), tmp_path / "fetched")


# ---- good ------------------------------------------------------------------------------------------------------------


def test_a_signed_folder(folder: Path, key: Path) -> None:
    public = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", f"{key}.pub", "-outform", "DER"], capture_output=True, check=True
    ).stdout
    assert check(folder, Path(f"{key}.pub")) == f"key SHA256:{hashlib.sha256(public).hexdigest()}"


def test_a_signed_file(single: Path, key: Path) -> None:
    assert check(single, Path(f"{key}.pub")).startswith("key SHA256:")


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_other_curves(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    key = save_key(tmp_path / "keys", ec.generate_private_key(curve))
    source = publisher(tmp_path / "published")
    directory = fetched(source, sign(source, tmp_path / "model.sig", key), tmp_path / "fetched")
    assert check(directory, Path(f"{key}.pub"))


@pytest.mark.parametrize("algorithm", ["sha256", "blake2", "blake3"])
@pytest.mark.parametrize("kind", ["files", "shards"])
@pytest.mark.parametrize("of", ["folder", "file"])
def test_every_way_to_hash(tmp_path: Path, key: Path, algorithm: Any, kind: str, of: str) -> None:
    how = model_signing.hashing.Config()
    if kind == "files":
        how.use_file_serialization(hashing_algorithm=algorithm)
    else:
        how.use_shard_serialization(hashing_algorithm=algorithm, shard_size=100)
    source = publisher(tmp_path / "published")
    source = source if of == "folder" else source / "model.onnx"
    directory = fetched(source, sign(source, tmp_path / "model.sig", key, how), tmp_path / "fetched")
    assert check(directory, Path(f"{key}.pub"))
    with (directory / "model.onnx").open("ab") as file:
        file.write(b"\0")
    assert refused(directory, Path(f"{key}.pub")).failure.reason == "SignatureMismatch"


def test_signed_by_the_command_line_with_the_signature_inside_the_folder(tmp_path: Path, key: Path) -> None:
    source = publisher(tmp_path / "published")
    (source / ".gitattributes").write_text("*.onnx filter=lfs\n")
    command = [sys.executable, "-W", "ignore", "-m", "model_signing", "sign", "key", str(source)]
    inside = ["--private_key", str(key), "--signature", str(source / "model.sig")]
    subprocess.run([*command, *inside], check=True, capture_output=True)
    directory = fetched(source, source / "model.sig", tmp_path / "fetched")
    assert check(directory, Path(f"{key}.pub"))


def test_signed_before_the_signature_was_put_into_the_folder(tmp_path: Path, key: Path) -> None:
    """Nothing in the signature says to ignore it there: it is known by its bytes."""
    source = publisher(tmp_path / "published")
    signature = shutil.copy(sign(source, tmp_path / "model.sig", key), source / "signature.json")
    directory = fetched(source, Path(signature), tmp_path / "fetched")
    assert check(directory, Path(f"{key}.pub"))
    (directory / "signature.json").write_text("{}")
    assert refused(directory, Path(f"{key}.pub")).failure.reason == "SignatureExtraFile"


def test_a_folder_of_one_file_that_is_fetched_as_a_file(tmp_path: Path, key: Path) -> None:
    source = tmp_path / "published"
    source.mkdir()
    file = models.save(models.mlp(), source).rename(source / "classifier.onnx")
    directory = fetched(file, sign(source, tmp_path / "model.sig", key), tmp_path / "fetched")
    assert check(directory, Path(f"{key}.pub"))


def test_what_the_signer_said_to_ignore(tmp_path: Path, key: Path) -> None:
    source = publisher(tmp_path / "published")
    how = model_signing.hashing.Config().set_ignored_paths(paths=["docs"])
    directory = fetched(source, sign(source, tmp_path / "model.sig", key, how), tmp_path / "fetched")
    (directory / "docs" / "card.md").write_text("# Another card\n")
    assert check(directory, Path(f"{key}.pub"))


# ---- the files are not those that were signed ------------------------------------------------------------------------


def test_a_tampered_model(folder: Path, key: Path) -> None:
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    failure = refused(folder, Path(f"{key}.pub")).failure
    assert (failure.reason, failure.field) == ("SignatureMismatch", "spec.source.uri")
    assert failure.message.startswith("model.onnx differs from the signed content")


def test_a_tampered_single_file(single: Path, key: Path) -> None:
    models.save(models.mlp(seed=8), single)
    failure = refused(single, Path(f"{key}.pub")).failure
    assert failure.reason == "SignatureMismatch"
    assert failure.message.startswith("model.onnx differs")


def test_tampered_weights_of_the_same_size(folder: Path, key: Path) -> None:
    path = folder / "weights.bin"
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    failure = refused(folder, Path(f"{key}.pub")).failure
    assert failure.reason == "SignatureMismatch"
    assert failure.message.startswith("weights.bin differs")


def test_a_missing_file(folder: Path, key: Path) -> None:
    (folder / "docs" / "card.md").unlink()
    failure = refused(folder, Path(f"{key}.pub")).failure
    assert failure.reason == "SignatureMismatch"
    assert failure.message == "docs/card.md is signed, but missing"


def test_one_file_of_a_signed_folder(tmp_path: Path, key: Path) -> None:
    source = publisher(tmp_path / "published")
    signature = sign(source, tmp_path / "model.sig", key)
    failure = refused(fetched(source / "model.onnx", signature, tmp_path / "fetched"), Path(f"{key}.pub")).failure
    assert failure.reason == "SignatureMismatch"
    assert "covers a folder of 3 files, but the source is one file" in failure.message


@pytest.mark.parametrize("name", ["planted.bin", "docs/planted.md", "docs/source.json", "a/.signature", "model.sig"])
def test_an_extra_file(folder: Path, key: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"planted")
    failure = refused(folder, Path(f"{key}.pub")).failure
    assert (failure.reason, failure.field) == ("SignatureExtraFile", "spec.source.uri")
    assert failure.message == f"{name} is not covered by the signature"


def test_many_extra_files_are_counted(folder: Path, key: Path) -> None:
    for number in range(5):
        (folder / f"planted{number}").write_bytes(b"planted")
    message = refused(folder, Path(f"{key}.pub")).failure.message
    assert message == "planted0, planted1, planted2 and 2 more are not covered by the signature"


def test_an_extra_file_beside_a_signed_file(tmp_path: Path, key: Path) -> None:
    source = publisher(tmp_path / "published")
    signature = sign(source / "model.onnx", tmp_path / "model.sig", key)
    failure = refused(fetched(source, signature, tmp_path / "fetched"), Path(f"{key}.pub")).failure
    assert failure.reason == "SignatureExtraFile"


def test_the_model_itself_is_never_ignored(tmp_path: Path, key: Path) -> None:
    source = publisher(tmp_path / "published")
    how = model_signing.hashing.Config().set_ignored_paths(paths=["model.onnx"])
    directory = fetched(source, sign(source, tmp_path / "model.sig", key, how), tmp_path / "fetched")
    failure = refused(directory, Path(f"{key}.pub")).failure
    assert failure.reason == "SignatureExtraFile"
    assert failure.message == "model.onnx is not covered by the signature"


# ---- it is not the signature that is asked for -----------------------------------------------------------------------


def test_another_key(folder: Path, tmp_path: Path) -> None:
    other = save_key(tmp_path / "other")
    failure = refused(folder, Path(f"{other}.pub")).failure
    assert (failure.reason, failure.field) == ("SignatureUntrusted", "spec.source.signature")
    assert failure.message.startswith("the signer is not key SHA256:")


def test_another_key_that_is_not_named_in_the_signature(folder: Path, key: Path, tmp_path: Path) -> None:
    bundle = json.loads((folder / ".signature").read_text())
    del bundle["verificationMaterial"]["publicKey"]["hint"]
    (folder / ".signature").write_text(json.dumps(bundle))
    assert check(folder, Path(f"{key}.pub"))
    assert refused(folder, Path(f"{save_key(tmp_path / 'other')}.pub")).failure.reason == "SignatureUntrusted"


def test_another_key_that_takes_this_ones_name(folder: Path, tmp_path: Path, key: Path) -> None:
    """Who signs with a key of their own and writes the trusted key's hint into the bundle has not signed with it."""
    forger = save_key(tmp_path / "forger")
    forged = json.loads(sign(tmp_path / "published", tmp_path / "forged.sig", forger).read_text())
    honest = json.loads((folder / ".signature").read_text())
    forged["verificationMaterial"] = honest["verificationMaterial"]
    (folder / ".signature").write_text(json.dumps(forged))
    assert refused(folder, Path(f"{key}.pub")).failure.reason == "SignatureInvalid"


def test_no_signature(tmp_path: Path, key: Path) -> None:
    failure = refused(
        fetched(publisher(tmp_path / "published"), None, tmp_path / "fetched"), Path(f"{key}.pub")
    ).failure
    assert (failure.reason, failure.field) == ("SignatureMissing", "spec.source.signature")


def test_the_signature_of_another_model(folder: Path, tmp_path: Path, key: Path) -> None:
    other = publisher(tmp_path / "other")
    models.save(models.mlp(seed=9), other)
    shutil.copy(sign(other, tmp_path / "other.sig", key), folder / ".signature")
    failure = refused(folder, Path(f"{key}.pub")).failure
    assert failure.reason == "SignatureMismatch"
    assert failure.message.startswith("model.onnx differs")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\xff\xfe garbage",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"verificationMaterial": 1, "dsseEnvelope": 2}',
        b'{"verificationMaterial": {}, "messageSignature": {}}',
        b'{"verificationMaterial": {"publicKey": {}}, "dsseEnvelope": {}}',
        b'{"verificationMaterial": {"publicKey": {"hint": 7}}, "dsseEnvelope": {"payload": 3}}',
        b'{"verificationMaterial": {"certificate": {"rawBytes": "AAAA"}}, "dsseEnvelope": {}}',
        b" " * (signature.MAX_BYTES + 1),
    ],
    ids=range(12),
)
@pytest.mark.parametrize("rule", ["key", "identity"])
def test_what_is_no_signature(folder: Path, key: Path, content: bytes, rule: str) -> None:
    (folder / ".signature").write_bytes(content)
    asked = SignatureRule(public_key=f"{key}.pub") if rule == "key" else SignatureRule("", IDENTITY, ISSUER)
    # What says that it was made the other way is told so, before anybody tries to read the rest.
    reasons = {"SignatureInvalid", "SignatureUntrusted"} if b"rtificate" in content or b"publicKey" in content else {}
    assert refused(folder, asked).failure.reason in (reasons or {"SignatureInvalid"})


@pytest.mark.parametrize("change", ["payload", "signature", "predicate", "cut"])
def test_a_damaged_signature(folder: Path, key: Path, change: str) -> None:
    path = folder / ".signature"
    bundle = json.loads(path.read_text())
    envelope = bundle["dsseEnvelope"]
    if change == "payload":
        envelope["payload"] = envelope["payload"][:-4] + "AAAA"
    elif change == "signature":
        envelope["signatures"] = []
    elif change == "predicate":
        envelope["payloadType"] = "text/plain"
    path.write_text(json.dumps(bundle)[: 500 if change == "cut" else None])
    assert refused(folder, Path(f"{key}.pub")).failure.reason == "SignatureInvalid"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no PEM",
        rsa.generate_private_key(65537, 2048)
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ec.generate_private_key(ec.SECP256K1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
    ids=["empty", "text", "rsa", "curve"],
)
def test_what_is_no_public_key(folder: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pub").write_bytes(content)
    failure = refused(folder, tmp_path / "bad.pub").failure
    assert (failure.reason, failure.field) == ("SignatureKeyInvalid", "spec.source.signature")


def test_a_public_key_in_the_environment(folder: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", Path(f"{key}.pub").read_text())
    assert check(folder, "env:KEY").startswith("key SHA256:")
    monkeypatch.delenv("KEY")
    assert refused(folder, SignatureRule(public_key="env:KEY")).failure.reason == "SignatureKeyInvalid"


def test_a_public_key_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    assert refused(folder, tmp_path / "none.pub").failure.reason == "SignatureKeyInvalid"


@pytest.mark.parametrize("rule", [SignatureRule(), SignatureRule(identity=IDENTITY), SignatureRule(issuer=ISSUER)])
def test_a_rule_that_names_nobody_trusts_nobody(folder: Path, rule: SignatureRule) -> None:
    assert refused(folder, rule).failure.reason == "SignatureUntrusted"


# ---- a Sigstore ------------------------------------------------------------------------------------------------------

SHA256 = ec.ECDSA(hashes.SHA256())


def der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


class Sigstore:
    """A whole Sigstore in memory, for identities sign online only: a certificate authority (Fulcio), the log of its
    certificates, and the log of signatures (Rekor), each with a key of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.certificates, self.signatures = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        self.start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "sigstore of a test")])
        self.root = (
            x509.CertificateBuilder(
                name, name, self.authority.public_key(), 1, self.start, self.start + timedelta(days=1)
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage(certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.authority.public_key()), critical=False)
            .sign(self.authority, hashes.SHA256())
        )

    def trusted_root(self) -> TrustedRoot:
        span = {"start": self.start.isoformat()}

        def log(url: str, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            public = {"rawBytes": text(der(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": span}
            known_by = {"keyId": text(hashlib.sha256(der(key)).digest())}
            return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": known_by}

        chain = {"certificates": [{"rawBytes": text(self.root.public_bytes(Encoding.DER))}]}
        authority = {
            "subject": {"organization": "tests", "commonName": "tests"},
            "uri": "https://fulcio.invalid",
            "certChain": chain,
            "validFor": span,
        }
        root = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log("https://rekor.invalid", self.signatures)],
            "ctlogs": [log("https://ctfe.invalid", self.certificates)],
            "certificateAuthorities": [authority],
            "timestampAuthorities": [],
        }
        path = self.folder / "trusted_root.json"
        path.write_text(json.dumps(root))
        return TrustedRoot.from_file(str(path))

    def sign(self, payload: bytes, identity: str, issuer: str) -> str:
        """The bundle of a statement that this identity signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certificate(key.public_key(), identity, issuer)
        kind = b"application/vnd.in-toto+json"
        signature = key.sign(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload), SHA256)
        pem = certificate.public_bytes(Encoding.PEM)
        entry = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},
                "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
                "signatures": [{"signature": text(signature), "verifier": text(pem)}],
            },
        }
        envelope = {"payload": text(payload), "payloadType": kind.decode(), "signatures": [{"sig": text(signature)}]}
        material = {
            "certificate": {"rawBytes": text(certificate.public_bytes(Encoding.DER))},
            "tlogEntries": [self._logged(json.dumps(entry).encode())],
        }
        media = "application/vnd.dev.sigstore.bundle.v0.3+json"
        return json.dumps({"mediaType": media, "verificationMaterial": material, "dsseEnvelope": envelope})

    def _certificate(self, key: ec.EllipticCurvePublicKey, identity: str, issuer: str) -> x509.Certificate:
        """Signed twice: its log signs what it is without the log's own statement, which is then put into it."""
        builder = (
            x509.CertificateBuilder(
                self.root.subject, x509.Name([]), key, 2, self.start, self.start + timedelta(hours=2)
            )
            .add_extension(usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key()), critical=False
            )
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(identity)]), critical=True)
            .add_extension(extension("1.3.6.1.4.1.57264.1.1", issuer.encode()), critical=False)
        )
        before = builder.add_extension(self._timestamp(b""), critical=False).sign(self.authority, hashes.SHA256())
        logged = self._timestamp(before.tbs_precertificate_bytes)
        return builder.add_extension(logged, critical=False).sign(self.authority, hashes.SHA256())

    def _timestamp(self, certificate: bytes) -> x509.UnrecognizedExtension:
        """RFC 6962, section 3: a list of one signed certificate timestamp."""
        when = int(self.start.timestamp() * 1000)
        issuer, length = hashlib.sha256(der(self.authority)).digest(), struct.pack("!I", len(certificate))[1:]
        signed = struct.pack("!BBQH", 0, 0, when, 1) + issuer + length + certificate + b"\0\0"
        signature = self.certificates.sign(signed, SHA256)
        known_by = hashlib.sha256(der(self.certificates)).digest()
        stamp = b"\0" + known_by + struct.pack("!QHBBH", when, 0, 4, 3, len(signature)) + signature
        stamps = struct.pack("!HH", len(stamp) + 2, len(stamp)) + stamp
        return extension("1.3.6.1.4.1.11129.2.4.2", b"\x04" + bytes([len(stamps)]) + stamps)

    def _logged(self, body: bytes) -> dict[str, Any]:
        """The only entry of a log: its hash is the root of the tree."""
        known_by = hashlib.sha256(der(self.signatures)).digest()
        root, when = hashlib.sha256(b"\0" + body).digest(), int(datetime.now(UTC).timestamp())
        note = f"rekor.invalid\n1\n{text(root)}\n"
        checkpoint = known_by[:4] + self.signatures.sign(note.encode(), SHA256)
        promised = {"body": text(body), "integratedTime": when, "logID": known_by.hex(), "logIndex": 0}
        promise = self.signatures.sign(json.dumps(promised, separators=(",", ":")).encode(), SHA256)
        return {
            "logIndex": "0",
            "logId": {"keyId": text(known_by)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(when),
            "inclusionPromise": {"signedEntryTimestamp": text(promise)},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": text(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": f"{note}\n\u2014 rekor.invalid {text(checkpoint)}\n"},
            },
            "canonicalizedBody": text(body),
        }


def usage(*, certificates: bool) -> x509.KeyUsage:
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    none = dict.fromkeys((*others, "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not certificates, key_cert_sign=certificates, crl_sign=certificates, **none)


def extension(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


# ---- identities ------------------------------------------------------------------------------------------------------


def test_a_key_is_no_identity(folder: Path) -> None:
    failure = refused(folder, SignatureRule(identity=IDENTITY, issuer=ISSUER)).failure
    assert failure.reason == "SignatureUntrusted"
    assert "was made with a key" in failure.message


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Sigstore:
    return Sigstore(tmp_path_factory.mktemp("sigstore"))


@pytest.fixture
def by_identity(folder: Path, private: Sigstore, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, signed with an identity of a Sigstore that this test made, which the runtime is told to trust."""
    payload = signing_payload(folder)
    (folder / ".signature").write_text(private.sign(payload, IDENTITY, ISSUER))
    monkeypatch.setattr(signature, "_trusted_root", private.trusted_root)
    return folder


def signing_payload(folder: Path) -> bytes:
    return base64.b64decode(json.loads((folder / ".signature").read_text())["dsseEnvelope"]["payload"])


def test_an_identity(by_identity: Path) -> None:
    request = ValidateRequest(str(by_identity), signature=SignatureRule(identity=IDENTITY, issuer=ISSUER))
    assert signature.verify(request).by == IDENTITY


@pytest.mark.parametrize(
    ("identity", "issuer"),
    [
        ("release@models.example.org", ISSUER),
        (IDENTITY, "https://accounts.example.org"),
        (IDENTITY.upper(), ISSUER),
        ("@models.example.com", ISSUER),
    ],
)
def test_another_identity(by_identity: Path, identity: str, issuer: str) -> None:
    failure = refused(by_identity, SignatureRule(identity=identity, issuer=issuer)).failure
    assert (failure.reason, failure.field) == ("SignatureUntrusted", "spec.source.signature")
    assert failure.message.startswith("the signer is not")


def test_a_tampered_model_of_an_identity(by_identity: Path) -> None:
    (by_identity / "weights.bin").write_bytes(b"\0" * 128)
    failure = refused(by_identity, SignatureRule(identity=IDENTITY, issuer=ISSUER)).failure
    assert failure.reason == "SignatureMismatch"


def test_an_identity_is_no_key(by_identity: Path, key: Path) -> None:
    failure = refused(by_identity, Path(f"{key}.pub")).failure
    assert failure.reason == "SignatureUntrusted"
    assert "was made with a certificate" in failure.message


def test_keys_that_the_trust_root_does_not_know(by_identity: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # Sigstore's own trust root, which this package carries: it knows nothing of the test's
    failure = refused(by_identity, SignatureRule(identity=IDENTITY, issuer=ISSUER)).failure
    assert failure.reason == "SignatureUntrusted"
    assert "its Sigstore trust root is from sigstore" in failure.message
    assert "outdated" in failure.hint


def payload_changed(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["payload"] = bundle["dsseEnvelope"]["payload"][:-8] + "fX19fX0="


def later(bundle: dict[str, Any]) -> None:
    bundle["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = str(
        int((datetime.now(UTC) + timedelta(days=1)).timestamp())
    )


def no_promise(bundle: dict[str, Any]) -> None:
    del bundle["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"]


def other_root(bundle: dict[str, Any]) -> None:
    proof = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    proof["rootHash"] = "A" * 43 + "="


@pytest.mark.parametrize("change", [payload_changed, later, no_promise, other_root])
def test_a_damaged_bundle_of_an_identity(by_identity: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = by_identity / ".signature"
    bundle = json.loads(path.read_text())
    change(bundle)
    path.write_text(json.dumps(bundle))
    failure = refused(by_identity, SignatureRule(identity=IDENTITY, issuer=ISSUER)).failure
    assert failure.reason == ("SignatureInvalid" if change in (payload_changed, no_promise) else "SignatureUntrusted")


def test_the_trust_root_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, and no writable home: both are refused to the stage."""
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    root = signature._trusted_root()
    assert root.get_fulcio_certs()
    assert signature._newest(root) > "2021"
    assert not (tmp_path / "nowhere").exists()


# ---- as a stage ------------------------------------------------------------------------------------------------------


def test_validate_tells_who_signed_and_parses_nothing_before(folder: Path, key: Path) -> None:
    """In the child process, which has no network: all that verification needs is here."""
    rule = SignatureRule(public_key=f"{key}.pub")
    request = ValidateRequest(str(folder), signature=rule, mode="Warn")
    result = apart.run("validate", request)
    assert isinstance(result, ValidateResult)
    assert result.signer.startswith("key SHA256:")
    (folder / "model.onnx").write_bytes(b"<html>")
    with pytest.raises(StageError) as caught:
        apart.run("validate", request)
    assert caught.value.failure.reason == "SignatureMismatch"


def test_an_identity_needs_no_network(by_identity: Path) -> None:
    request = ValidateRequest(str(by_identity), signature=SignatureRule(identity=IDENTITY, issuer=ISSUER))
    with pytest.raises(StageError) as caught:
        apart.run("validate", request)
    assert "cannot verify it: its Sigstore trust root" in caught.value.failure.message


def test_weights_that_the_signer_said_to_ignore_are_no_signed_model(tmp_path: Path, key: Path) -> None:
    source = publisher(tmp_path / "published")
    how = model_signing.hashing.Config().set_ignored_paths(paths=[source / "weights.bin"], ignore_git_paths=False)
    folder = fetched(source, sign(source, tmp_path / "model.sig", key, how), tmp_path / "fetched")
    with pytest.raises(StageError) as caught:
        validate(ValidateRequest(str(folder), signature=SignatureRule(public_key=f"{key}.pub"), mode="Warn"))
    assert caught.value.failure.reason == "NotPinned"
    assert "weights.bin" in caught.value.failure.message
