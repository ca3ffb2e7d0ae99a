"""Plays the kubelet for all namespaces at once, by watches of its own, and counts the Jobs that were ever made."""

import asyncio
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from dev.results import good
from onnxmodel_operator import names
from onnxmodel_runtime.contract.outcome import ExitCode, Failure, Outcome, encode
from tests.faults.proxy import tls
from tests.integration.kubelet import ended, serves

REFUSED = Failure("OpsetTooLow", "opset is 9, opset.min is 13", "Export it again.", "spec.validation.opset.min")
Key = tuple[str, str]


class Played:
    """A thread. Pods of stages end well at once, and those of servers become ready.

    fails: the stages that are refused, by namespace and model. made: by namespace, model and stage, how many Jobs were.
    """

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        self._server, self._ssl = config["clusters"][0]["cluster"]["server"], tls(config, folder)
        self.fails: dict[Key, str] = {}
        self._jobs: dict[str, tuple[str, str, str]] = {}  # by uid
        self._done: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="kubelet")

    def __enter__(self) -> "Played":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def made(self, namespace: str, model: str) -> Counter[str]:
        """How many Jobs of each stage were made for a model."""
        return Counter(stage for where, name, stage in list(self._jobs.values()) if (where, name) == (namespace, model))

    async def _run(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        connector = aiohttp.TCPConnector(ssl=self._ssl, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with aiohttp.ClientSession(
            self._server, connector=connector, timeout=timeout, read_bufsize=2**21
        ) as self._session:
            following = [
                asyncio.create_task(self._follow("/api/v1/pods", self._pod)),
                asyncio.create_task(self._follow("/apis/batch/v1/jobs", self._job)),
            ]
            self._ready.set()
            await self._stopped.wait()
            for task in (*following, *self._tasks):
                task.cancel()
            await asyncio.wait({*following, *self._tasks})
        await asyncio.sleep(0.1)  # TLS connections take a moment to close

    async def _follow(self, path: str, learn: Callable[[dict[str, Any]], None]) -> None:
        version = ""
        while True:
            try:
                async for event in self._events(path, version):
                    if event["type"] == "ERROR":
                        version = ""
                        break
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] in ("ADDED", "MODIFIED"):
                        learn(event["object"])
            except (aiohttp.ClientError, OSError, TimeoutError):
                await asyncio.sleep(0.2)

    async def _events(self, path: str, version: str) -> Any:
        query = {"labelSelector": names.SELECTOR}
        if not version:
            async with self._session.get(path, params=query) as answer:
                answer.raise_for_status()
                listed = await answer.json()
            for item in listed["items"]:
                yield {"type": "ADDED", "object": item}
            version = listed["metadata"]["resourceVersion"]
            yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}
        query |= {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        async with self._session.get(path, params=query) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                yield json.loads(line)

    def _job(self, item: dict[str, Any]) -> None:
        metadata = item["metadata"]
        labels = metadata["labels"]
        self._jobs[metadata["uid"]] = (
            metadata["namespace"],
            labels[names.LABEL_MODEL],
            labels[names.LABEL_STAGE],
        )

    def _pod(self, item: dict[str, Any]) -> None:
        metadata = item["metadata"]
        if metadata["uid"] in self._done or "deletionTimestamp" in metadata or item["status"]["phase"] != "Pending":
            return
        self._done.add(metadata["uid"])
        task = self._loop.create_task(self._play(item))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, pod: dict[str, Any]) -> None:
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/status"
        headers = {"Content-Type": "application/merge-patch+json"}
        body = json.dumps({"status": self._end(pod)})
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with self._session.patch(path, data=body, headers=headers) as answer:
                    if answer.status in (200, 404):
                        return
            await asyncio.sleep(0.3)

    def _end(self, pod: dict[str, Any]) -> dict[str, Any]:
        labels = pod["metadata"]["labels"]
        stage = labels.get(names.LABEL_STAGE)
        if stage is None:
            return serves()
        if self.fails.get((pod["metadata"]["namespace"], labels[names.LABEL_MODEL])) == stage:
            return ended(pod, stage, ExitCode.REFUSED, encode(Outcome(stage, 0.5, failure=REFUSED)))
        result = good({"spec": {"template": {"spec": pod["spec"]}}})
        return ended(pod, stage, 0, encode(Outcome(stage, 1.0, result)))
