"""Documents as lines of text, one for each value, so that what changed is what a diff shows."""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.frozen.results import PREFIX, opened

AGAIN = os.environ.get("ONNXMODEL_FREEZE") == "1"
RECORDED = Path(__file__).with_name("recorded")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SHOWN = 60  # lines of a diff


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Path and JSON of every value, in an order that is always the same."""
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            step = key if _PLAIN.fullmatch(key) else json.dumps(key)
            yield from flat(value[key], f"{path}.{step}" if path else step)
    elif isinstance(value, list | tuple) and value:
        for index, item in enumerate(value):
            yield from flat(item, f"{path}[{index}]")
    elif isinstance(value, str) and (inner := _json(value)) is not None:
        yield from flat(inner, f"{path}|json")
    elif isinstance(value, str):
        yield path, json.dumps(_digested(value), ensure_ascii=False)
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _json(text: str) -> Any:
    """What a string of JSON says, where its bytes follow from that; None for any other string."""
    if not text.startswith("{") or text == "{}":
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    same = json.dumps(value, sort_keys=True, separators=(",", ":")) == text
    return value if same else None


def _digested(text: str) -> str:
    """An outcome by the digest of its JSON: another version of zlib may pack it in other bytes."""
    if not text.startswith(PREFIX):
        return text
    try:
        inside = json.dumps(opened(text), sort_keys=True, separators=(",", ":")).encode()
    except ValueError:
        return text
    return f"{PREFIX} {hashlib.sha256(inside).hexdigest()[:16]}"


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What makes the one document of the other, line by line."""
    gone = [f"{path} is gone" for path in before if path not in after]
    return gone + [f"{path}: {value}" for path, value in after.items() if before.get(path) != value]


def compare(name: str, text: str) -> None:
    """Fail where the text is not the recorded one, and show where. ONNXMODEL_FREEZE=1 records it instead."""
    path = RECORDED / name
    if AGAIN:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    recorded = path.read_text(encoding="utf-8") if path.exists() else ""
    if text == recorded:
        return
    old, new = recorded.splitlines(), text.splitlines()
    first = next(
        (i for i, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), min(len(old), len(new))
    )
    moment = next((line.strip("= ") for line in reversed(new[: first + 1]) if line.startswith("== ")), "its beginning")
    diff = [*difflib.unified_diff(old, new, "recorded", "now", n=2, lineterm="")]
    more = [f"… and {len(diff) - _SHOWN} lines more"] if len(diff) > _SHOWN else []
    raise AssertionError(
        "\n".join([f"{name} differs from what was recorded, first at: {moment}", *diff[:_SHOWN], *more])
    )
