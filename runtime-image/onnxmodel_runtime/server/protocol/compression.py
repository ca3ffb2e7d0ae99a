"""Content encodings of HTTP bodies: gzip and deflate, which means zlib."""

import zlib

from onnxmodel_runtime.server.errors import Code, ServerError

_WINDOW = {"gzip": 31, "deflate": 15}
PIECE = 1 << 20
"""Bytes to decompress at one time."""
WORTHWHILE = 1024  # below, the answer is a packet either way


def is_one(encoding: str) -> bool:
    """Return whether a body with this Content-Encoding is encoded."""
    return encoding.strip().lower() not in ("", "identity")


class Decompression:
    """A body, decompressed in pieces: at most `limit` bytes together, whatever size it claims."""

    def __init__(self, body: bytes, encoding: str, limit: int) -> None:
        encoding = encoding.strip().lower()
        if encoding not in _WINDOW:
            raise ServerError(
                f"Unsupported compression type '{encoding}': gzip and deflate are supported", Code.UNSUPPORTED
            )
        self._encoding = encoding
        self._inflate = zlib.decompressobj(_WINDOW[encoding])
        self._body = memoryview(body)
        self._at = 0
        self._left = limit
        self._limit = limit

    @property
    def done(self) -> bool:
        """True if there are no more pieces."""
        return self._inflate.eof

    def read(self) -> bytes:
        """Return the next piece. Raises ServerError."""
        inflate, data = self._inflate, self._inflate.unconsumed_tail
        if not data:
            data = bytes(self._body[self._at : self._at + PIECE])
            self._at += len(data)
        try:
            piece = inflate.decompress(data, PIECE)
        except zlib.error as error:
            raise ServerError(
                f"failed to decompress the request ({self._encoding}): it is corrupt, or not compressed"
            ) from error
        self._left -= len(piece)
        if self._left < 0:
            raise ServerError(
                f"the decompressed request exceeds the maximum allowed input size of {self._limit} bytes",
                Code.TOO_LARGE,
            )
        longer = inflate.eof and (inflate.unused_data or self._at < len(self._body))
        shorter = not inflate.eof and not data and not piece
        if longer or shorter:
            raise ServerError(
                f"failed to decompress the request ({self._encoding}): it is truncated, or followed by other data"
            )
        return piece


def choose(accepted: str) -> str:
    """Return the encoding that an Accept-Encoding header asks for, or "" for none."""
    for item in accepted.lower().split(","):
        name, _, weight = item.partition(";")
        if name.strip() in _WINDOW and weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            return name.strip()
    return ""


def compress(body: bytes, encoding: str) -> bytes:
    """Compress the body in an encoding from `choose`."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, _WINDOW[encoding])
    return deflate.compress(body) + deflate.flush()
