"""Heads of requests: HPACK (RFC 7541), and the malformed ones of RFC 9113, 8."""

import re
from collections.abc import Callable
from typing import Any

import hpack

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.http2.frames import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    PROTOCOL_ERROR,
    ConnectionFailed,
    StreamFailed,
)

Head = dict[bytes, bytes]
"""Fields by their names in lower case, pseudo-headers included."""

MAX_REMEMBERED = 64
"""Header blocks that a connection remembers."""
_RESIZED = re.compile(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\x00-\x7f]){3}")
"""Three changes of the table's size. A block needs two at most (RFC 7541, 4.2), and each of its bytes could be one."""
_FORBIDDEN = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_REQUIRED = frozenset({b":method", b":scheme", b":path"})
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})


class Heads:
    """Decode a connection's header blocks, and remember those that mean the same when they come again."""

    def __init__(self, prepare: Callable[[Head], Any]) -> None:
        """prepare: see Connection."""
        self.prepared: dict[bytes, tuple[Head, Any]] = {}
        """Remembered blocks of requests that can be offered whole, with what the application prepared for them."""
        self._prepare = prepare
        self._decoder = hpack.Decoder(max_header_list_size=limits.MAX_HEAD)
        self._remembered: dict[bytes, Head] = {}

    def decode(self, block: bytes) -> Head:
        """Decode a block. Raises ConnectionFailed where the table is lost, StreamFailed for malformed fields."""
        head = self._remembered.get(block)
        if head is not None:
            return head
        if _RESIZED.match(block):
            raise ConnectionFailed(COMPRESSION_ERROR, "a header block changes the size of the table too often")
        try:
            fields = self._decoder.decode(block, raw=True)
        except hpack.OversizedHeaderListError as error:
            raise ConnectionFailed(ENHANCE_YOUR_CALM, "a header block is too large") from error
        except (hpack.HPACKError, ValueError, IndexError) as error:
            raise ConnectionFailed(COMPRESSION_ERROR, "a header block cannot be decompressed") from error
        # From 0x80 on, a byte is one entry of the table by its number. A block of those alone changes nothing in the
        # table, and means the same until another block changes it.
        stable = bool(block) and min(block) >= 0x80
        if not stable or len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
            self.prepared.clear()
        head = _head(fields)
        if stable:
            self._remembered[block] = head
            if is_request(head) and b"content-length" not in head:
                prepared = self._prepare(head)
                if prepared is not None:
                    self.prepared[block] = (head, prepared)
        return head


def is_request(head: Head) -> bool:
    """Return whether the head has the pseudo-headers of a request."""
    return head.keys() >= _REQUIRED and bool(head[b":path"])


def is_trailers(head: Head) -> bool:
    """Return whether the fields may follow a body."""
    return not any(name[:1] == b":" for name in head)


def _head(fields: Any) -> Head:
    head: Head = {}
    regular = False
    for name, value in fields:
        if name[:1] == b":":
            if regular or name not in _PSEUDO or name in head:
                raise StreamFailed(PROTOCOL_ERROR, "a pseudo-header is unknown, repeated or late")
        else:
            regular = True
            if name in _FORBIDDEN or name != name.lower() or not name or (name == b"te" and value != b"trailers"):
                raise StreamFailed(PROTOCOL_ERROR, "a header is not allowed in HTTP/2")
        head[name] = value
    return head
