"""Ready models by the thousand: one real life's objects again and again, with other names, uids and digests, put into etcd.

They are byte for byte what the API server stored for a life, managed fields included. Digests of ours hold the volume's
uid, so each is computed anew from the text that the operator itself computes it from. Proof that the copies are what
lives would have left: an operator that starts beside them writes nothing.
"""

import asyncio
import base64
import hashlib
import json
import re
import sys
import uuid
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp

from dev.results import SHA
from onnxmodel_operator import names
from onnxmodel_operator.cluster.cache import Cache
from onnxmodel_operator.cluster.kinds import BY_NAME, MODEL, Kind
from onnxmodel_operator.controller.reconcile import reconcile
from onnxmodel_operator.controller.telemetry import Telemetry
from onnxmodel_operator.platform.settings import Settings
from onnxmodel_runtime.contract.outcome import Outcome, encode

_IN_A_TRANSACTION = 100
_MARK = encode(Outcome("validate", 1.0)).rpartition(":")[0] + ":"
_OUTCOMES = re.compile(re.escape(_MARK) + "([A-Za-z0-9+/=]+)")
_PLACES = {"OnnxModel": f"{names.GROUP}/{names.PLURAL}", "Service": "services/specs"}


@dataclass(frozen=True)
class Template:
    """A life's objects, also as JSON, and the texts that its digests were computed from, in order."""

    name: str
    namespace: str
    objects: tuple[dict[str, Any], ...]
    text: str
    digests: tuple[tuple[str, str], ...]
    words: re.Pattern[str]
    """Words that differ in another model: names, uids, digests, and the file's own."""


class _Refuses:
    """Nothing is asked for and nothing written where nothing is to be done."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the model that is to be copied is not at rest: {name}")


async def template(objects: Sequence[dict[str, Any]], settings: Settings, now: datetime) -> Template:
    """Of the objects of one Ready model. Raises AssertionError where the operator would still do something."""
    cache = Cache()
    (model,) = (item for item in objects if item["kind"] == MODEL.name)
    for item in objects:
        cache.put(BY_NAME[item["kind"]], item)
    key = model["metadata"]["namespace"], model["metadata"]["name"]
    with _digests() as found:
        outcome = await reconcile(key, cache, Telemetry(), settings, _Refuses(), now)
    assert outcome.phase == "Ready", outcome
    stored = [{**item, "metadata": {**item["metadata"]}} for item in objects]
    for item in stored:
        item["metadata"].pop("resourceVersion")
    words = {*key, SHA["original"], *(form for digest in found.values() for form in _forms(digest))}
    words |= {item["metadata"]["uid"] for item in objects}
    return Template(key[1], key[0], tuple(stored), json.dumps(stored), tuple(found.items()), _pattern(words))


def copies(made: Template, namespace: str, name: str) -> list[dict[str, Any]]:
    """The objects of another model that went through the same life, with another file."""
    others = {made.name: name, made.namespace: namespace, SHA["original"]: names.digest([namespace, name])}
    others |= {item["metadata"]["uid"]: str(uuid.uuid4()) for item in made.objects}
    for text, digest in made.digests:
        other = hashlib.sha256(_replaced(text, others, made.words).encode()).hexdigest()
        others |= zip(_forms(digest), _forms(other), strict=True)
    found: list[dict[str, Any]] = json.loads(_replaced(made.text, others, made.words))
    return found


def _forms(digest: str) -> tuple[str, ...]:
    """Return a digest in every length in use: in a request, in a folder's name, in an object's name."""
    return digest, digest[:16], names.short(digest)


def _pattern(words: Collection[str]) -> re.Pattern[str]:
    """The longest first: a digest begins with its own short form."""
    return re.compile("|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)))


def _replaced(text: str, others: Mapping[str, str], words: re.Pattern[str]) -> str:
    """The text with the other words, also in outcomes, which are packed."""

    def outcome(match: re.Match[str]) -> str:
        inner = words.sub(word, zlib.decompress(base64.b64decode(match[1])).decode())
        return _MARK + base64.b64encode(zlib.compress(inner.encode(), 9)).decode()

    def word(match: re.Match[str]) -> str:
        return others.get(match[0], match[0])

    return words.sub(word, _OUTCOMES.sub(outcome, text))


@contextmanager
def _digests() -> Iterator[dict[str, str]]:
    """Canonical text -> digest, of all that are computed in the block, and nothing is remembered from before it."""
    for module in [module for name, module in sys.modules.items() if name.startswith("onnxmodel_operator")]:
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
    found: dict[str, str] = {}
    real = names.digest

    def heard(value: Any) -> str:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        found[text] = real(value)
        return found[text]

    names.digest = heard
    try:
        yield found
    finally:
        names.digest = real


async def store(etcd: str, objects: Sequence[Mapping[str, Any]]) -> None:
    """Put objects into etcd as the API server would. etcd: its address."""
    puts = [
        {"requestPut": {"key": _base64(_key(item)), "value": _base64(json.dumps(item, separators=(",", ":")))}}
        for item in objects
    ]
    async with aiohttp.ClientSession(etcd) as session:
        for at in range(0, len(puts), _IN_A_TRANSACTION):
            async with session.post("/v3/kv/txn", json={"success": puts[at : at + _IN_A_TRANSACTION]}) as answer:
                if answer.status != 200:
                    raise RuntimeError(f"etcd: {answer.status}: {await answer.text()}")
            await asyncio.sleep(0)


def _key(item: Mapping[str, Any]) -> str:
    kind: Kind = BY_NAME[item["kind"]]
    metadata = item["metadata"]
    return f"/registry/{_PLACES.get(kind.name, kind.plural)}/{metadata['namespace']}/{metadata['name']}"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
