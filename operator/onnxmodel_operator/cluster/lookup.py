"""Lookups in the API server of objects that the cache lacks, before a conclusion is drawn from their absence."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from onnxmodel_operator.cluster.cache import Cache, Key
from onnxmodel_operator.cluster.kinds import JOB, POD


class Reader(Protocol):
    """Reads single objects: `cluster.client.Client`."""

    async def get(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Get any object. None if there is none."""

    async def pods(self, namespace: str, job: str) -> Sequence[Mapping[str, Any]]:
        """List the pods of a Job."""


async def look_up(cache: Cache, reader: Reader, key: Key, job: str) -> None:
    """Bring the cache up to date with a Job and its pods.

    Watches of different kinds are not ordered: a Job may be known to have succeeded before its pod is known at all.
    """
    before = cache.snapshot(key)
    found = await reader.get(JOB.name, key[0], job)
    pods = await reader.pods(key[0], job)
    there = {pod["metadata"]["uid"] for pod in pods}
    for pod in before.pods:
        if _of_job(pod, job) and pod["metadata"]["uid"] not in there:
            cache.drop(POD, pod)
    for pod in pods:
        cache.put(POD, pod)
    if found:
        cache.put(JOB, found)
        return
    for known in before.jobs:
        if known["metadata"]["name"] == job:
            cache.drop(JOB, known)


def _of_job(pod: Mapping[str, Any], job: str) -> bool:
    return bool(pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-name") == job)
