"""Compressed bodies: within their limit, whole, and of an encoding that is known."""

import gzip
import zlib

import numpy as np
import pytest

from onnxmodel_runtime.server.errors import Code, ServerError
from onnxmodel_runtime.server.protocol import compression


def unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    whole = compression.Decompression(body, encoding, limit)
    pieces = []
    while not whole.done:
        pieces.append(whole.read())
        assert len(pieces[-1]) <= compression.PIECE
    return b"".join(pieces)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compression(encoding: str) -> None:
    packed = compression.compress(b"abc" * 1000, encoding)
    assert unpacked(packed, encoding, 3000) == b"abc" * 1000
    with pytest.raises(ServerError, match="exceeds the maximum"):
        unpacked(packed, encoding, 2999)
    with pytest.raises(ServerError, match="truncated"):
        unpacked(packed[:-5], encoding, 3000)
    with pytest.raises(ServerError, match="followed by other data"):
        unpacked(packed + b"x", encoding, 3000)
    with pytest.raises(ServerError, match="failed to decompress"):
        unpacked(b"not compressed", encoding, 3000)
    bomb = (gzip.compress if encoding == "gzip" else zlib.compress)(bytes(32 << 20))
    with pytest.raises(ServerError, match="exceeds the maximum"):
        unpacked(bomb, encoding, 1 << 20)
    large = np.random.default_rng(0).bytes(5 << 19) + bytes(5 << 19)
    packed = compression.compress(large, encoding)
    assert unpacked(packed, encoding, len(large)) == large
    for wrong in (packed[:-1], packed + b"x", packed + bytes(3 << 20)):
        with pytest.raises(ServerError, match="truncated, or followed by other data"):
            unpacked(wrong, encoding, len(large))


def test_encodings() -> None:
    assert [compression.is_one(encoding) for encoding in ("", "identity", " Identity", "gzip", "br")] == [
        *(False, False, False, True, True)
    ]
    with pytest.raises(ServerError) as caught:
        unpacked(b"x", "br", 1)
    assert caught.value.code == Code.UNSUPPORTED
    chosen = {"gzip": "gzip", "br, deflate;q=0.5": "deflate", "gzip;q=0, *": "", "": "", "identity": ""}
    assert {asked: compression.choose(asked) for asked in chosen} == chosen
