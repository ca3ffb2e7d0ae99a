"""HTTP/2 frames: their layout, and the rules that hold for a frame whatever came before it (RFC 9113, 4 and 6)."""

from struct import Struct
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME = Struct(">BHBBI")
"""The 9 bytes in front of a payload: its length (24 bits in two fields), the frame's type, its flags, its stream."""
WORD, SETTING = Struct(">I"), Struct(">HI")
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 0x1, 0x1, 0x4, 0x8, 0x20
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 3, 4, 5, 6
ENABLE_PUSH = 2
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0x0, 0x1, 0x3, 0x5, 0x6
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x7, 0x8, 0x9, 0xB
LARGEST = (1 << 31) - 1
"""The largest number of a stream, and the largest window."""


class ConnectionFailed(Exception):
    """The client broke the protocol, and the connection ends. code: the error code of its GOAWAY."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class StreamFailed(Exception):
    """The client broke the protocol on one stream. code: the error code of its RST_STREAM."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class _Layout(NamedTuple):
    """size: bytes of the payload, 0 for any number. unit: the payload is a multiple of so many bytes."""

    name: str
    on_connection: bool = False  # alone
    size: int = 0
    unit: int = 1


_LAYOUTS = {
    RST_STREAM: _Layout("RST_STREAM", size=4),
    SETTINGS: _Layout("SETTINGS", on_connection=True, unit=6),
    PING: _Layout("PING", on_connection=True, size=8),
    GOAWAY: _Layout("GOAWAY", on_connection=True),
    WINDOW_UPDATE: _Layout("WINDOW_UPDATE", size=4),
}


def check(kind: int, flags: int, number: int, payload: bytes) -> None:
    """Check the size and the place of a frame. Raises ConnectionFailed, and StreamFailed for a PRIORITY."""
    layout = _LAYOUTS.get(kind)
    if layout is not None:
        name, on_connection, exact, unit = layout
        size = len(payload)
        if number and on_connection:
            raise ConnectionFailed(PROTOCOL_ERROR, f"{name} on a stream")
        if (exact and size != exact) or size % unit or (size and kind == SETTINGS and flags & ACK):
            raise ConnectionFailed(FRAME_SIZE_ERROR, f"{name} has a wrong size")
    elif kind == PUSH_PROMISE:
        raise ConnectionFailed(PROTOCOL_ERROR, "clients must not push")
    elif kind == PRIORITY:
        if not number:
            raise ConnectionFailed(PROTOCOL_ERROR, "PRIORITY without a stream")
        if len(payload) != 5:
            raise StreamFailed(FRAME_SIZE_ERROR, "PRIORITY has a wrong size")
        if depends_on(payload) == number:
            raise StreamFailed(PROTOCOL_ERROR, "a stream depends on itself")


def check_setting(key: int, value: int) -> None:
    """Check the value of a setting. Raises ConnectionFailed."""
    if key == ENABLE_PUSH and value > 1:
        raise ConnectionFailed(PROTOCOL_ERROR, "ENABLE_PUSH must be 0 or 1")
    if key == INITIAL_WINDOW_SIZE and value > LARGEST:
        raise ConnectionFailed(FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
    if key == MAX_FRAME_SIZE and not 16384 <= value <= 0xFFFFFF:
        raise ConnectionFailed(PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")


def unpadded(payload: bytes) -> bytes:
    """Return the payload of a PADDED frame without its padding. Raises ConnectionFailed."""
    padding = payload[0] if payload else 0
    if padding >= len(payload):
        raise ConnectionFailed(PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - padding]


def fragment(flags: int, number: int, payload: bytes) -> bytes:
    """Return what HEADERS have of a header block: the payload without padding and priority. Raises ConnectionFailed."""
    if flags & PADDED:
        payload = unpadded(payload)
    if not flags & PRIORITIZED:
        return payload
    if len(payload) < 5:
        raise ConnectionFailed(FRAME_SIZE_ERROR, "HEADERS without its priority fields")
    if depends_on(payload) == number:
        raise ConnectionFailed(PROTOCOL_ERROR, "a stream depends on itself")
    return payload[5:]


def depends_on(priority: bytes) -> int:
    """Return the stream that a priority names."""
    return word(priority)


def word(payload: bytes, at: int = 0) -> int:
    """Return the number of 31 bits at a place in a payload."""
    value: int = WORD.unpack_from(payload, at)[0]
    return value & LARGEST


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    """Encode a frame."""
    return FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, number) + payload


def settings(*values: tuple[int, int]) -> bytes:
    """Encode SETTINGS."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*value) for value in values))


def rst_stream(number: int, code: int) -> bytes:
    """Encode a RST_STREAM."""
    return frame(RST_STREAM, 0, number, WORD.pack(code))


def window_update(number: int, size: int) -> bytes:
    """Encode a WINDOW_UPDATE; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, number, WORD.pack(size))


def goaway(last: int, code: int, why: str = "") -> bytes:
    """Encode a GOAWAY. last: the last stream that is or will be answered."""
    return frame(GOAWAY, 0, 0, WORD.pack(last) + WORD.pack(code) + why.encode())


def literal(*fields: tuple[bytes, bytes]) -> bytes:
    """Encode a header block that leaves the client's table alone; names and values are short."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)


def _text(value: bytes) -> bytes:
    size = len(value)
    if size < 127:
        return bytes([size]) + value
    size -= 127
    prefix = bytearray([127])
    while size >= 128:
        prefix.append(size & 127 | 128)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + value
