"""Content encodings of HTTP bodies: gzip and deflate, which means zlib."""

import zlib

from onnxmodel_runtime.server.errors import Code, ServerError

_WINDOW = {"gzip": 31, "deflate": 15}
WORTHWHILE = 1024  # below, the answer is a packet either way


class TooLarge(ServerError):
    """There is more in it than may be."""


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its encoding. It never grows beyond limit, whatever it claims to hold."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _WINDOW:
        raise ServerError(f"Unsupported compression type '{encoding}': gzip and deflate are known", Code.UNSUPPORTED)
    inflate = zlib.decompressobj(_WINDOW[encoding])
    try:
        data = inflate.decompress(body, limit + 1)
    except zlib.error as error:
        raise ServerError(f"failed to decompress the request ({encoding}): {error}") from error
    if len(data) > limit:
        raise TooLarge(f"the decompressed request exceeds the maximum allowed input size of {limit} bytes")
    if not inflate.eof or inflate.unused_data:
        raise ServerError(f"failed to decompress the request ({encoding}): it is cut short, or data follows it")
    return data


def choose(accepted: str) -> str:
    """The encoding that an Accept-Encoding header asks for, or "" for none."""
    for item in accepted.lower().split(","):
        name, _, weight = item.partition(";")
        if name.strip() in _WINDOW and weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            return name.strip()
    return ""


def compress(body: bytes, encoding: str) -> bytes:
    """The body in an encoding that choose gave."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, _WINDOW[encoding])
    return deflate.compress(body) + deflate.flush()
