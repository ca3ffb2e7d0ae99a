"""Header blocks that a connection remembers."""

import hpack
import pytest

from onnxmodel_runtime.server.http2 import heads
from onnxmodel_runtime.server.http2.heads import Heads

NEWEST = b"\xbe"  # the newest entry of the client's table, by its number


def test_a_remembered_block_is_forgotten_when_the_table_changes() -> None:
    encoder, taken = hpack.Encoder(), Heads(lambda head: None)
    taken.decode(encoder.encode([("x", "1")]))
    assert taken.decode(NEWEST) == taken.decode(NEWEST) == {b"x": b"1"}
    taken.decode(encoder.encode([("y", "2")]))
    assert taken.decode(NEWEST) == {b"y": b"2"}


def test_few_blocks_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MAX_REMEMBERED", 3)
    request, prepared = b"\x83\x86\x84", []
    taken = Heads(lambda head: prepared.append(head) or "prepared")
    blocks = [request + b"\x90" * count for count in range(5)]
    for block in blocks[:3]:
        taken.decode(block)
    assert [*taken.prepared] == blocks[:3]
    for block in blocks:
        taken.decode(block)
    assert [*taken.prepared] == blocks[3:]
    assert len(prepared) == 5
