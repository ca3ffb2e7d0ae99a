"""Verify the signature of a model, and that it covers its files. OpenSSF model signing, before anything is parsed.

The library verifies the signature. The comparison with the files is ours, because the directory holds more than what
was signed (the record of a fetch, golden data), and because each kind of difference has a reason of its own here.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509 import Certificate
from model_signing import hashing
from model_signing._signing import sign_ec_key, sign_sigstore, sign_sigstore_pb
from model_signing.manifest import Manifest
from sigstore.errors import VerificationError
from sigstore.models import TrustedRoot
from sigstore.verify import Verifier, policy

from onnxmodel_runtime.contract.validate import SignatureRule, ValidateRequest
from onnxmodel_runtime.contract.volume import MODEL_FILE, OUR_FILES, SIGNATURE_FILE
from onnxmodel_runtime.errors import NAME_CHARACTERS, StageError, clip, ran_out_of_memory, size
from onnxmodel_runtime.models.records import read_source
from onnxmodel_runtime.sandbox.progress import log, step

MAX_BYTES = 10 << 20  # a manifest has some hundred bytes per file: what is larger is no signature
_FIELD = "spec.source.signature"
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
# What a signature calls a hash -> what the library does: it does not know its own name for BLAKE2.
_ALGORITHMS: dict[str, Literal["sha256", "blake2", "blake3"]] = {
    "sha256": "sha256",
    "blake2b": "blake2",
    "blake2": "blake2",
    "blake3": "blake3",
}
_GIT = {".git", ".gitattributes", ".github", ".gitignore"}  # what the library's verifier ignores, whoever signed
_ROOT = "_store/https%3A%2F%2Ftuf-repo-cdn.sigstore.dev/trusted_root.json"  # of the package sigstore
_SIGN_AGAIN = "Sign the model again: model_signing sign key FOLDER --private_key KEY --signature FOLDER/model.sig"


@dataclass(frozen=True)
class Signed:
    """The signer ("key SHA256:…" or the identity), and the signed files, by their paths below the model's directory."""

    by: str
    files: frozenset[str]


def verify(request: ValidateRequest) -> Signed:
    """Verify that the signer in `request.signature` signed all of the model. Raises StageError.

    The fingerprint is that of `openssl pkey -pubin -in KEY -outform DER | sha256sum`.
    """
    rule = request.signature or SignatureRule()
    step("verifying the signature")
    content = _read(Path(request.directory) / SIGNATURE_FILE)
    bundle = _bundle(content)
    if rule.public_key:
        signer, manifest = _with_key(rule, bundle, content)
    elif rule.identity and rule.issuer:
        signer, manifest = _with_identity(rule, bundle, content)
    else:
        raise _untrusted("no trusted signer is specified", "Provide a public key, or an identity and its issuer.")
    step("comparing the files with the signed ones")
    files = _compare(request, manifest, content)
    log(f"signed by {signer}")
    return Signed(signer, files)


# ---- is it a signature, and whose? -----------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise StageError(
            "SignatureMissing",
            "the model must be signed, but there is no signature with it",
            f"Upload the signature to spec.source.signature.uri. {_SIGN_AGAIN}",
            _FIELD,
        )
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _invalid(f"it is larger than {size(MAX_BYTES)}")
    return content


def _bundle(content: bytes) -> dict[str, Any]:
    """The signature as far as it must be read to say what is wrong with it; the library reads it again, in full."""
    try:
        bundle = json.loads(content)
        material, envelope = bundle["verificationMaterial"], bundle["dsseEnvelope"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise _invalid("it is not a Sigstore bundle in JSON with a signed manifest") from error
    if not isinstance(material, dict) or not isinstance(envelope, dict):
        raise _invalid("it is not a Sigstore bundle in JSON with a signed manifest")
    return dict(bundle)


def _with_key(rule: SignatureRule, bundle: dict[str, Any], content: bytes) -> tuple[str, Manifest]:
    pem = _pem(rule.public_key)
    key = _public_key(pem)
    fingerprint = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    signer = f"key SHA256:{fingerprint}"
    named = bundle["verificationMaterial"].get("publicKey")
    if not isinstance(named, dict):
        raise _untrusted(
            f"the signature was made with a certificate, but {signer} is required",
            "Specify the identity and issuer of the signer, or have the model signed with the key.",
        )
    try:
        signature = sign_sigstore_pb.Signature.read(_held(content))
        with contextlib.redirect_stdout(sys.stderr):  # where it warns of old signatures; standard output is for results
            return signer, sign_ec_key.Verifier(_held(pem)).verify(signature)
    except InvalidSignature as error:
        # The library compared the bundle's hint before: it is of this key, so what was signed has changed since.
        if named.get("hint"):
            raise _invalid("it was made with the required key, but its content was changed afterwards") from error
        raise _wrong_key(signer) from error
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        if str(error).startswith("Key mismatch"):
            raise _wrong_key(signer) from error
        raise _invalid(_words(error)) from error  # untrusted bytes make the library raise whatever they reach


def _with_identity(rule: SignatureRule, bundle: dict[str, Any], content: bytes) -> tuple[str, Manifest]:
    if "publicKey" in bundle["verificationMaterial"]:
        raise _untrusted(
            f"the signature was made with a key, but the identity {clip(rule.identity, NAME_CHARACTERS)} is required",
            "Specify the public key, or have the model signed with the identity: model_signing sign sigstore FOLDER.",
        )
    certificate: Certificate | None = None
    root = _trusted_root()
    try:
        signature = sign_sigstore.Signature.read(_held(content))
        certificate = signature.bundle.signing_certificate
        return rule.identity, _IdentityVerifier(rule, root).verify(signature)
    except VerificationError as error:
        raise _unverified(rule, certificate, root, error) from error
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        raise _invalid(_words(error)) from error


class _IdentityVerifier(sign_sigstore.Verifier):
    """The library's verifier with a trust root that is here: its own constructor asks the network, or writes to HOME."""

    def __init__(self, rule: SignatureRule, root: TrustedRoot) -> None:
        self._verifier = Verifier(trusted_root=root)
        self._policy = policy.Identity(identity=rule.identity, issuer=rule.issuer)


def _trusted_root() -> TrustedRoot:
    """Sigstore's public instance as the package sigstore knew it when it was released."""
    with resources.as_file(resources.files("sigstore").joinpath(_ROOT)) as path:
        return TrustedRoot.from_file(str(path))


def _unverified(
    rule: SignatureRule, certificate: Certificate | None, root: TrustedRoot, error: VerificationError
) -> StageError:
    """Somebody else signed, or the trust root does not know the keys behind the signature."""
    detail = clip(str(error), NAME_CHARACTERS)
    try:
        if certificate is not None:
            policy.Identity(identity=rule.identity, issuer=rule.issuer).verify(certificate)
    except Exception as refused:  # a certificate without a name at all included
        return _untrusted(
            f"the signer is not {clip(rule.identity, NAME_CHARACTERS)} of {clip(rule.issuer, NAME_CHARACTERS)}: "
            f"{clip(str(refused), NAME_CHARACTERS)}",
            "Check the identity and the issuer, which must match exactly; otherwise the signature is not "
            "the publisher's.",
        )
    if detail.startswith("DSSE"):
        return _invalid("it was made by the required identity, but its content was changed afterwards")
    signed = f" on {certificate.not_valid_before_utc:%Y-%m-%d}" if certificate is not None else ""
    return _untrusted(
        f"the signature claims to be made{signed} by {clip(rule.identity, NAME_CHARACTERS)}, but this "
        "image cannot verify it: its Sigstore trust root is from sigstore "
        f"{metadata.version('sigstore')}, with keys up to {_newest(root)}: {detail}",
        "If Sigstore has rotated its keys since, the trust root is outdated: use a newer release of "
        "this image. Otherwise the bundle is damaged, or comes from a private Sigstore, which is not "
        "supported: sign with the public one, or with a key.",
    )


def _newest(root: TrustedRoot) -> str:
    """The day when the youngest key in the trust root came into use."""
    inner = root._inner
    logs = [log.public_key.valid_for for log in (*inner.tlogs, *inner.ctlogs)]
    starts = [span.start for span in (*logs, *(ca.valid_for for ca in inner.certificate_authorities)) if span]
    return f"{max(starts):%Y-%m-%d}" if starts else "an unknown date"


def _pem(place: str) -> bytes:
    """The public key's file; or the environment's variable, as a Job has it from a Secret."""
    if place.startswith("env:"):
        text = os.environ.get(place.removeprefix("env:"), "")
        if not text.strip():
            raise _bad_key("no public key to verify the signature (for local use: --public-key)")
        return text.encode()
    try:
        return Path(place).read_bytes()
    except OSError as error:
        raise _bad_key(f"cannot read the public key for the signature: {_words(error)}") from error


def _public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem)
    except Exception as error:
        raise _bad_key(f"cannot read the public key for the signature: {_words(error)}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise _bad_key("the public key for the signature is not an ECDSA key on P-256, P-384 or P-521")
    return key


class _Held:
    """For the library, which asks for paths: what it reads are the very bytes that were judged so far."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read_bytes(self) -> bytes:
        return self._content

    def read_text(self, encoding: str) -> str:
        return self._content.decode(encoding)


def _held(content: bytes) -> Any:
    return _Held(content)  # which is no Path, and all of one that is asked for


# ---- are these the files that were signed? ---------------------------------------------------------------------------


def _compare(request: ValidateRequest, manifest: Manifest, signature: bytes) -> frozenset[str]:
    directory = Path(request.directory)
    signed = _signed(manifest)
    present = set(_files(directory))
    single = _single(directory, present)
    if set(signed) == {"."} or (single and len(signed) == 1):
        signed = {request.file: next(iter(signed.values()))}  # one file: its publisher's name for it does not matter
    here = sorted(present & set(signed))
    actual = {name: _hashed(directory / name, manifest.serialization_type) for name in here}
    missing = sorted(set(signed) - present)
    if changed := [name for name in here if actual[name] != signed[name]]:
        raise _mismatch(
            f"{_list(changed)} {_differ(changed)} from the signed content",
            "The file was changed after signing, or the signature belongs to another version: use the "
            "signed files, or sign the current ones.",
        )
    if missing:
        folder = f"; the signature covers a folder of {len(signed)} files, but the source is one file" if single else ""
        raise _mismatch(
            f"{_list(missing)} {_be(missing)} signed, but missing{folder}",
            "Use the signed folder with all of its files as the source (its URI ends in '/'); or sign only the file.",
        )
    ignored = [PurePosixPath(name) for name in manifest.serialization_type.get("ignore_paths", ())]
    extra = [name for name in present - set(signed) if not _exempt(directory, name, ignored, signature)]
    if request.file not in signed or extra:
        # The model itself is never exempt, whatever the signature says to ignore.
        names = sorted({*extra, *({request.file} - set(signed))}, key=lambda name: (name != request.file, name))
        raise StageError(
            "SignatureExtraFile",
            f"{_list(names)} {_be(names)} not covered by the signature",
            "Remove unsigned files from the folder, or sign the folder again as it is.",
            "spec.source.uri",
        )
    return frozenset(signed)


def _signed(manifest: Manifest) -> dict[str, dict[str, tuple[str, bytes]]]:
    """file -> part of it ("" for the whole) -> algorithm and digest."""
    files: dict[str, dict[str, tuple[str, bytes]]] = {}
    for item in manifest.resource_descriptors():
        name, part = item.identifier, ""
        if manifest.serialization_type["method"] == "shards":
            name, first, last = item.identifier.rsplit(":", 2)
            part = f"{first}:{last}"
        files.setdefault(name, {})[part] = (item.digest.algorithm, item.digest.digest_value)
    return files


def _hashed(path: Path, how: dict[str, Any]) -> dict[str, tuple[str, bytes]]:
    """A file as the signer hashed it. One thread: each costs its stack, of a container's memory."""
    algorithm = _ALGORITHMS.get(how["hash_type"])
    if algorithm is None:
        raise _invalid(f"it uses the unsupported hash {clip(str(how['hash_type']), 40)}")
    config = hashing.Config()  # type: ignore[no-untyped-call]
    config.set_ignored_paths(paths=(), ignore_git_paths=False).set_allow_symlinks(True)
    if how["method"] == "shards":
        config.use_shard_serialization(hashing_algorithm=algorithm, shard_size=int(how["shard_size"]), max_workers=1)
    else:
        config.use_file_serialization(hashing_algorithm=algorithm, max_workers=1)
    return _signed(config.hash(path)).get(".", {})


def _files(directory: Path) -> Iterable[str]:
    for folder, _, names in os.walk(directory):
        for name in names:
            yield (Path(folder) / name).relative_to(directory).as_posix()


def _single(directory: Path, present: set[str]) -> bool:
    """Return whether the source was one file, by whatever name."""
    source = read_source(directory)
    fetched = {name for name in source.get("files", present) if PurePosixPath(name).parts[0] not in OUR_FILES}
    return fetched == {MODEL_FILE} and not str(source.get("uri", "")).endswith("/")


def _exempt(directory: Path, name: str, ignored: list[PurePosixPath], signature: bytes) -> bool:
    """Return whether a file need not be signed: our records, what the signer ignored, and a copy of the signature.

    The model itself is never exempt, and checks/external.py refuses weights in a file that is.
    """
    path = PurePosixPath(name)
    if path.parts[0] in OUR_FILES | _GIT or any(path.is_relative_to(other) for other in ignored):
        return True
    file = directory / name
    return file.is_file() and file.stat().st_size == len(signature) and file.read_bytes() == signature


# ---- words -----------------------------------------------------------------------------------------------------------


def _invalid(detail: str) -> StageError:
    return StageError("SignatureInvalid", f"the signature is not valid: {detail}", f"{_SIGN_AGAIN}.", _FIELD)


def _untrusted(message: str, hint: str) -> StageError:
    return StageError("SignatureUntrusted", message, hint, _FIELD)


def _wrong_key(signer: str) -> StageError:
    return _untrusted(
        f"the signer is not {signer}",
        "Check that the public key is the publisher's current one; otherwise the signature is not the publisher's.",
    )


def _bad_key(message: str) -> StageError:
    hint = "Use a PEM file that starts with BEGIN PUBLIC KEY: openssl pkey -in PRIVATE -pubout."
    return StageError("SignatureKeyInvalid", message, hint, _FIELD)


def _mismatch(message: str, hint: str) -> StageError:
    return StageError("SignatureMismatch", message, hint, "spec.source.uri")


def _list(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(clip(name, 80) for name in names[:3]) + more


def _be(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _differ(names: list[str]) -> str:
    return "differs" if len(names) == 1 else "differ"


def _words(error: Exception) -> str:
    return clip(f"{type(error).__name__}: {error}", NAME_CHARACTERS)
