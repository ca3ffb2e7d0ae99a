"""A model's life in the in-memory cluster, and what the operator writes.

Everything goes in as the API server, the kubelet and people say it, and comes out as what is written: nothing here knows
how the operator decides.
"""

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

from dev.results import stage_container
from onnxmodel_operator.cluster.errors import ApiError
from onnxmodel_operator.platform import settings
from tests.builders import SETTINGS, Cluster, body
from tests.frozen import results, text

NAME = "magika"


def merged(base: Any, change: Any) -> Any:
    """The base with what the change says instead, field by field."""
    if not isinstance(base, Mapping) or not isinstance(change, Mapping):
        return change
    return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}


class Life(Cluster):
    """A model's cluster, which writes down what the operator does."""

    def __init__(self, case: Mapping[str, Any], known: Mapping[str, dict[str, str]]) -> None:
        platform = merged(SETTINGS.model_dump(mode="json", by_alias=True), case.get("settings", {}))
        model = body(NAME)
        model["spec"] = merged(model["spec"], case["spec"])
        self.case = case
        self.lines: list[str] = []
        self.known = dict(known)
        self.first: dict[str, dict[str, str]] = {}
        """By role, the first document."""
        self.documents = 0
        super().__init__(model, platform=settings.parse(platform))

    # ---- the operator's writes ---------------------------------------------------------------------------------------

    def _record(self, verb: str, role: str, document: Mapping[str, Any]) -> None:
        """A document, by what is different from the last one of its role."""
        now = dict(text.flat(document))
        self.lines += [f"{verb} {role}", *(f"  {line}" for line in text.changes(self.known.get(role, {}), now))]
        self.known[role] = now
        self.first.setdefault(role, now)
        self.documents += 1

    async def apply(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        self._record("apply", _role(manifest), copy.deepcopy(manifest))
        return await super().apply(manifest)

    async def apply_status(
        self, namespace: str, name: str, version: str, status: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        self._record("write", "status", status)
        return await super().apply_status(namespace, name, version, status)

    async def delete(self, kind: str, item: Mapping[str, Any]) -> None:
        self.lines.append(f"delete {kind} {item['metadata']['name']}")
        await super().delete(kind, item)

    def step(self, name: str = NAME, *, namespace: str = "team-a", failures: int = 0) -> Any:
        outcome = super().step(name, namespace=namespace, failures=failures)
        self.again = outcome.requeue_seconds
        return outcome

    def moment(self, name: str) -> None:
        """Let the operator come to rest, and write down what it did."""
        start = len(self.lines)
        self.lines.append(f"== {name}")
        try:
            self.settle(NAME)
        except ApiError as error:
            self.lines.append(f"raises {error}")
        else:
            self.lines.append(f"looks again in {self.again:g} s" if self.again is not None else "rests")
        assert len(self.lines) > start

    # ---- the cluster's part ------------------------------------------------------------------------------------------

    def running(self, stage: str) -> dict[str, Any] | None:
        """The stage's Job, if it has yet to end."""
        job = self.jobs().get(stage)
        return job if job and not job["status"].get("conditions") else None

    def succeed(
        self, stage: str, *, result: Any = None, message: str | None = None, images: dict[str, str] | None = None
    ) -> None:
        if message is None:
            asked = json.loads(stage_container(self.jobs()[stage])["args"][2])
            given = json.loads(json.dumps(self.case.get("results", {})))
            message = results.message(stage, result or results.good(stage, asked, given))
        super().succeed(stage, message=message, images=images)

    def remove(self, *kinds: str, where: Callable[[Any], bool] = lambda item: True) -> bool:
        """Objects of these kinds go, by another hand than the operator's."""
        gone = [key for key, item in self.objects.items() if key[0] in kinds and where(item)]
        for key in gone:
            del self.objects[key]
        return bool(gone)

    def change(self, spec: Mapping[str, Any]) -> bool:
        """A person changes these fields of the spec."""
        now = self.objects["OnnxModel", "team-a", NAME]["spec"]
        self.edit(NAME, **merged(now, spec))
        return bool(merged(now, spec) != now)

    def until_it_rests(self) -> None:
        """A healthy cluster does its part, until there is nothing to do."""
        for _ in range(20):
            self.settle(NAME)
            before = {key: id(item) for key, item in self.objects.items()}
            self.play()
            if before == {key: id(item) for key, item in self.objects.items()}:
                return
        raise AssertionError("it does not come to rest")


def _role(manifest: Mapping[str, Any]) -> str:
    """What the document is for: one of the same role follows on it."""
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    if kind == "Job":
        return f"Job of {stage_container(manifest)['args'][0]}"
    return (
        f"{kind} of the model" if name == NAME else f"{kind} of a revision" if kind != "PersistentVolumeClaim" else kind
    )


def begin(case: Mapping[str, Any], known: Mapping[str, dict[str, str]]) -> Life:
    """A cluster in which nothing has happened to the model yet.

    known: by role, the documents of which the first ones are told by what is different.
    """
    return Life(json.loads(json.dumps(case).replace("{model}", results.MODEL).replace("{data}", results.DATA)), known)
