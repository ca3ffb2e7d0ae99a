"""The moments of a model's life at which faults strike, and what is compared after each."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from dev.cluster.apiclient import Api, ApiError
from dev.kube import Kube, condition, is_true, until
from onnxmodel_operator import names
from onnxmodel_operator.cluster.kinds import CHILDREN, MODEL, POD, Kind
from onnxmodel_runtime.contract.codec import ContractError
from onnxmodel_runtime.contract.outcome import decode
from tests.faults.played import Played

RUNTIMES = ("onnxruntime", "triton")
MOMENTS = ("create", "refusal", "update", "rollback", "scale", "failure", "again", "delete")
"""In this order: a model lives through all of them but the refusal, which is another one's."""
_CHANGED = {"optimization": {"graphLevel": "Basic"}}


def model(name: str, runtime: str, **spec: Any) -> dict[str, Any]:
    """As a user applies it."""
    serving = {"runtime": runtime, **spec.pop("serving", {})}
    whole = {"source": {"uri": "s3://models/m.onnx"}, "serving": serving, **spec}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": name}, "spec": whole}


def name_of(moment: str, runtime: str) -> str:
    """Of the model that lives through a moment. Its children's names begin with it, and no other model's do."""
    return f"refused{runtime}" if moment == "refusal" else f"model{runtime}"


def act(moment: str, kube: Kube, played: Played) -> None:
    """What users do, and how stages end then."""
    models = {runtime: name_of(moment, runtime) for runtime in RUNTIMES}
    played.fails.clear()
    spec: dict[str, Any] = {}
    match moment:
        case "refusal":
            played.fails |= {(kube.namespace, name): "validate" for name in models.values()}
        case "update":
            spec = _CHANGED
        case "scale":
            spec = {"serving": {"replicas": 3}}
        case "failure":
            played.fails |= {(kube.namespace, name): "optimize" for name in models.values()}
            spec = {"optimization": {"graphLevel": "Extended"}}
        case "again" | "delete":
            kube.delete("onnxmodel", *models.values(), wait=False)
    if moment != "delete":
        kube.apply(*(model(name, runtime, **spec) for runtime, name in models.items()))


def wait(moment: str, kube: Kube, api: Api, seconds: float = 180) -> set[str]:
    """Until both models are where the moment leads. Returns the runtimes whose are not, after the time."""
    left = set(RUNTIMES)

    def ended() -> bool:
        try:
            found = {item["metadata"]["name"]: item for item in _items(api, kube.namespace, MODEL)}
        except ApiError:
            return False
        left.difference_update([r for r in left if _settled(moment, found.get(name_of(moment, r)))])
        return not left

    def gone() -> bool:
        ours = {name_of(moment, runtime) for runtime in RUNTIMES}
        return not ours & _children(api, kube.namespace).keys()

    with contextlib.suppress(AssertionError):
        until(moment, ended, seconds=seconds, pause=0.3)
        if moment == "delete":
            until("the garbage collector has everything", gone, seconds=90, pause=0.5)
    return left


def _settled(moment: str, found: Mapping[str, Any] | None) -> bool:
    if found is None:
        return moment == "delete"
    ends = "Stalled" if moment in ("refusal", "failure") else "Ready"
    told = condition(found, ends) or {}
    now = told.get("status") == "True" and told["observedGeneration"] == found["metadata"]["generation"]
    return now and not is_true(found, "Reconciling")


@dataclass(frozen=True)
class End:
    """Where a model ended. Times, uids, versions and what random names are made of are left out."""

    status: Any
    objects: tuple[Any, ...]
    jobs: Mapping[str, int]


def ends(moment: str, namespace: str, api: Api, played: Played) -> dict[str, End]:
    """Of the moment's models, by runtime."""
    models = {item["metadata"]["name"]: item for item in _items(api, namespace, MODEL)}
    children = _children(api, namespace)
    found = {}
    for runtime in RUNTIMES:
        name = name_of(moment, runtime)
        shown = models.get(name) or {}
        status, *objects = _plain(namespace, [_unpacked(shown.get("status")), *children.get(name, ())])
        found[runtime] = End(status, tuple(objects), dict(played.made(namespace, name)))
    return found


def _children(api: Api, namespace: str) -> dict[str, list[Any]]:
    """By model."""
    found: dict[str, list[Any]] = {}
    for kind in CHILDREN:
        for item in _items(api, namespace, kind):
            found.setdefault(item["metadata"]["labels"][names.LABEL_MODEL], []).append(_essence(kind, item))
    return found


def _items(api: Api, namespace: str, kind: Kind) -> list[Any]:
    selector = f"?labelSelector={quote(kind.label_selector)}" if kind.label_selector else ""
    items: list[Any] = api.get(f"{kind.path(namespace)}{selector}")["items"]
    return items


def difference(one: End, other: End) -> list[str]:
    """Where two ends differ, in words: each place with both values."""
    return [
        *_differences("status", one.status, other.status),
        *_differences("objects", list(one.objects), list(other.objects)),
        *_differences("Jobs made", dict(one.jobs), dict(other.jobs)),
    ]


def _differences(where: str, one: Any, other: Any) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        return [d for k in sorted({*one, *other}) for d in _differences(f"{where}.{k}", one.get(k), other.get(k))]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [d for i, (a, b) in enumerate(zip(one, other, strict=True)) for d in _differences(f"{where}[{i}]", a, b)]
    return [] if one == other else [f"{where}: {one} instead of {other}"]


def _essence(kind: Kind, item: dict[str, Any]) -> dict[str, Any]:
    metadata = item["metadata"]
    if kind is POD:
        ours = {key: value for key, value in metadata["labels"].items() if names.GROUP in key}
        return {"kind": "Pod", "labels": ours, "phase": item["status"]["phase"]}
    dropped = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation")
    kept = {key: value for key, value in metadata.items() if key not in dropped}
    spec = {key: value for key, value in item.get("spec", {}).items() if key not in ("clusterIP", "clusterIPs")}
    return {**item, "kind": kind.name, "metadata": kept, "spec": spec}


def _unpacked(value: Any) -> Any:
    """With what a stage said in words: packed, it is another text for each hash in it."""
    if isinstance(value, dict):
        return {key: _unpacked(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_unpacked(part) for part in value]
    if isinstance(value, str):
        with contextlib.suppress(ContractError):
            return dataclasses.asdict(decode(value))
    return value


_RULES = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"(-[0-9a-f]{8})-[a-z0-9]{5}\b"), r"\1-POD"),
    (re.compile(r'(ReplicaSet \\"[^"]*)-[a-z0-9]+\\"'), r'\1-SET\\"'),
    # What to keep on the volume, in the order of the hashes.
    (re.compile(r"\b(benchmark|optimize|source)/[0-9a-f]{16,}(?=[,\"])"), r"\1/HASH"),
)
_HASH = re.compile(r"\b([0-9a-f]{64}|[0-9a-f]{16}|[0-9a-f]{8})\b")


def _plain(namespace: str, items: list[Any]) -> list[Any]:
    """The first one at its place, the others in an order. Equal hashes have equal numbers, whatever they are."""
    texts = []
    for item in items:
        text = json.dumps(item, sort_keys=True).replace(namespace, "NAMESPACE")
        for pattern, instead in _RULES:
            text = pattern.sub(instead, text)
        texts.append(text)
    texts[1:] = sorted(texts[1:], key=lambda text: _HASH.sub("", text))
    seen: dict[str, str] = {}
    return [json.loads(_HASH.sub(lambda found: seen.setdefault(found[0], f"HASH{len(seen)}"), text)) for text in texts]


def lines(log: str, name: str) -> Iterable[str]:
    """What a log says of a model."""
    return (line for line in log.splitlines() if f"/{name}:" in line)
