"""`python -m benchmarks.controlplane.kubelet KUBECONFIG`: plays the kubelet of every pod, in a process of its own.

A Job's pod ends at once with the outcome that its stage would have; any other becomes ready. Jobs, Deployments and
ReplicaSets are those of Kubernetes' own controllers.
"""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.controlplane.api import Api, RefusedError, connect
from dev.results import good
from onnxmodel_runtime.contract.outcome import Outcome, encode

_CONDITIONS = ("PodScheduled", "Initialized", "ContainersReady", "Ready")


def played(pod: dict[str, Any], now: str) -> dict[str, Any]:
    """The status that a pod gets."""
    container, *_ = pod["spec"]["containers"]
    owners = pod["metadata"].get("ownerReferences", ())
    if any(owner["kind"] == "Job" for owner in owners):
        stage = container["args"][0]
        message = encode(Outcome(stage, _seconds(pod), good({"spec": {"template": pod}})))
        end = {"exitCode": 0, "message": message, "startedAt": now, "finishedAt": now, "reason": "Completed"}
        return {"phase": "Succeeded", "startTime": now, "containerStatuses": [_container(stage, {"terminated": end})]}
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in _CONDITIONS]
    running = [
        _container(item["name"], {"running": {"startedAt": now}}) | {"ready": True, "started": True}
        for item in pod["spec"]["containers"]
    ]
    return {"phase": "Running", "startTime": now, "conditions": conditions, "containerStatuses": running}


def _seconds(pod: dict[str, Any]) -> float:
    """Of each pod another number, so that no two outcomes are the same text: none can be read once for all."""
    return 1 + int(pod["metadata"]["uid"][:8], 16) / 2**32


def _container(name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "image": "i", "imageID": "i", "ready": False, "restartCount": 0, "state": state}


async def play(api: Api) -> None:
    """Until it is cancelled."""
    running: set[asyncio.Task[None]] = set()
    seen: set[str] = set()
    async for event, pod in api.watch("/api/v1/pods"):
        uid = pod["metadata"].get("uid", "")
        if event == "DELETED":
            seen.discard(uid)
        elif event != "BOOKMARK" and uid not in seen and pod["status"].get("phase") == "Pending":
            seen.add(uid)
            task = asyncio.create_task(_set(api, pod))
            running.add(task)
            task.add_done_callback(running.discard)


async def _set(api: Api, pod: dict[str, Any]) -> None:
    metadata = pod["metadata"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
    try:
        await api.merge(path, {"status": played(pod, now)})
    except RefusedError as error:
        if error.status not in (404, 409):
            print(f"{metadata['name']}: {error}", flush=True)


async def main(kubeconfig: Path) -> None:
    """Play with the rights of this kubeconfig."""
    async with connect(kubeconfig) as api:
        await play(api)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
