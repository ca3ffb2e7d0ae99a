"""The interface of a source of models: it lists its files and opens each one.

`UnreachableError` is what may pass; everything else is a StageError.
"""

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

from onnxmodel_runtime.errors import StageError

CHUNK = 1 << 20
FIELD = "spec.source.uri"
SECRET = "spec.source.secretRef"
MAX_FILES = 10_000
_SECRET_WORDS = (
    "sig",
    "token",
    "key",
    "secret",
    "credential",
    "password",
    "auth",
    "x-amz",
    "x-goog",
    "policy",
    "expires",
)
_POOL = re.compile(
    r"HTTPS?ConnectionPool\(host='[^']*', port=\d+\): Max retries exceeded with url: .*? \(Caused by \w+\([\"']?(.*?)[\"']?\)\)",
    re.S,
)
_CONNECTION = re.compile(r"<?HTTPS?Connection(?:Pool)?\(host='[^']*', port=\d+\)>?: ")


class UnreachableError(Exception):
    """The source did not answer, or the connection broke: another attempt may help."""

    def __init__(self, message: str) -> None:
        super().__init__(plainly(message))


@dataclass(frozen=True)
class Body:
    """The bytes of a file from `start`, which is 0 when the source could not go on where it was asked to.

    length: of the whole file, -1 when not known. sha256: of the whole file, when the source vouches for it.
    """

    start: int
    chunks: Generator[bytes, None, None]
    length: int = -1
    sha256: str = ""


@dataclass(frozen=True)
class Remote:
    """One file of a source. path: where it goes below the model's directory; length: in bytes, -1 when not known yet.

    open: gives the body from an offset. sha256: of a file that is known by its content. pack: "tar", "tar.gz" or "zip"
    for a folder that is packed into one file; then `path` is only a name for messages.
    """

    path: str
    length: int
    open: Callable[[int], Body]
    sha256: str = ""
    pack: str = ""


class Source(Protocol):
    """A place that holds a model."""

    def list(self) -> list[Remote]:
        """List the files to fetch: one named model.onnx, or a folder's."""

    @property
    def resolved(self) -> str:
        """The URI of exactly what was listed, a tag or a branch resolved, without credentials."""

    @property
    def loose(self) -> bool:
        """True if the author chose the layout of the files, so that the model must be searched for."""


def shown(uri: str) -> str:
    """Return a URI that may be logged: without user and password, and without the values of a signed query."""
    try:
        parts = urlsplit(uri)
        if parts.scheme not in ("http", "https"):
            return uri
        netloc = parts.netloc.rpartition("@")[2]
        pairs = [
            pair
            for pair in parse_qsl(parts.query, keep_blank_values=True)
            if not any(word in pair[0].lower() for word in _SECRET_WORDS)
        ]
    except ValueError:
        return uri.partition("?")[0]
    return parts._replace(netloc=netloc, query=urlencode(pairs)).geturl()


def scrubbed(error: object) -> str:
    """Return a library's message without its queries, which may be signed."""
    return plainly(re.sub(r"\?[^\s'\")>]+", "", str(error)))


def plainly(text: str) -> str:
    """Return the words of urllib3 and requests without the objects that they print: the cause alone."""
    text = _POOL.sub(r"\1", text)
    return _CONNECTION.sub("", text)


def invalid(uri: str, why: str, hint: str = "Correct the URI.") -> StageError:
    """Return the error for an invalid URI, or for what it names."""
    return StageError("SourceInvalid", f"{shown(uri)!r}: {why}", hint, FIELD)


def secret_invalid(what: str, hint: str) -> StageError:
    """Return the error for an unusable Secret."""
    return StageError("SourceInvalid", what, f"{hint} It comes from the Secret in {SECRET}.", SECRET)


def not_found(uri: str, detail: str) -> StageError:
    """Return the error for a file that the source does not have."""
    return StageError(
        "SourceNotFound",
        f"{shown(uri)} does not exist: {detail}",
        "Check the path, and that the model is there.",
        FIELD,
    )


def forbidden(uri: str, detail: str) -> StageError:
    """Return the error for denied access."""
    return StageError(
        "SourceForbidden",
        f"no permission to read {shown(uri)}: {detail}",
        "Check the credentials in the Secret that spec.source.secretRef names, and their permissions.",
        SECRET,
    )


def rejected(message: str, hint: str) -> StageError:
    """Return the error for an unacceptable answer of the source."""
    return StageError("SourceRejected", message, hint, FIELD)


def untrusted(uri: str, detail: object) -> StageError:
    """Return the error for a server's certificate that we do not trust."""
    return StageError(
        "SourceUntrusted",
        f"{shown(uri)}: {scrubbed(detail)}",
        f"Add the server's certificate authority in PEM as CA_CERTIFICATES to the Secret in {SECRET}.",
        SECRET,
    )


def safe_path(name: str, uri: str) -> str:
    """Return a file's name as a path below a folder. Raises StageError for one that leaves it, or is impossible."""
    path = PurePosixPath(name)
    bad = len(name) > 1024 or path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name
    # Surrogates: a name of bytes that are no UTF-8.
    bad = bad or any(ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) < 0xE000 for letter in name)
    if bad or len(path.parts) > 32 or any(len(part.encode(errors="replace")) > 255 for part in path.parts):
        raise StageError(
            "SourceInvalid",
            f"{shown(uri)} contains a file named {name[:200]!r}",
            "Rename it: names are relative paths, without '..', backslashes or control characters.",
            FIELD,
        )
    return path.as_posix()
