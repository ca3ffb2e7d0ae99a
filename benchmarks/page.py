"""`python -m benchmarks.page`: the page in a real Chromium, on a real API server with thousands of models.

Prints how long a person waits for the first rows, for all of them and for a change, and what the page's process needs.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.controlplane.api import MODELS, Api, connect
from benchmarks.controlplane.plane import ROOT, Plane, running
from dev import fleet
from dev.chromium import Tab, browsing
from dev.cluster.golang import program
from dev.cluster.shell import run
from dev.kube import until
from dev.page import RunningPage, serving

_NAMESPACE = "onnx-operator-system"
_CHANGES = 20
_CHANGED = 2  # the number of a model that is on the first page
_ROW = "document.querySelectorAll('.models tbody tr').length > 0"
_ALL = "document.querySelector('.chip b').innerText.replace(/\\D/g, '') === '{}'"
_LIVE = "document.querySelector('.live').dataset.state === 'Live'"
_SEEN = """new Promise((resolve) => {
  const row = [...document.querySelectorAll("tbody a")].find((link) => link.dataset.key === KEY).closest("tr");
  const look = () => row.innerText.includes(WORDS) && resolve(Date.now());
  new MutationObserver(look).observe(row, { childList: true, subtree: true, characterData: true });
})"""
_SEARCH = """new Promise((resolve) => {
  const input = document.getElementById("search");
  const began = performance.now();
  input.value = "bert 7";
  input.dispatchEvent(new Event("input"));
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - began)));
})"""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.page", description=__doc__)
    parser.add_argument("--models", type=int, default=3000)
    items = [fleet.model(number, datetime.now(UTC)) for number in range(parser.parse_args().models)]
    with running([]) as plane:
        kubeconfig = _install(plane, {item["metadata"]["namespace"] for item in items})
        asyncio.run(_create(plane, items))
        with serving({**os.environ, "KUBECONFIG": str(kubeconfig)}, "--auth=ServiceAccount") as page:
            asyncio.run(_measure(plane, page, items))


def _install(plane: Plane, namespaces: set[str]) -> Path:
    """The CRD, and of the chart the page's account with its rights. Returns the account's kubeconfig."""
    plane.kube.run("apply", "--server-side", "-f", str(ROOT / "crds" / "onnxmodels.yaml"))
    for namespace in (_NAMESPACE, *namespaces):
        plane.kube.run("create", "namespace", namespace)
    shown = run(
        program("helm"), "template", "onnxmodel-operator", ROOT / "charts" / "onnxmodel-operator",
        "--namespace", _NAMESPACE, "--set=page.enabled=true,page.auth=ServiceAccount",
        "--show-only=templates/page.yaml",
    )  # fmt: skip
    plane.kube.within(_NAMESPACE).run("apply", "-f", "-", stdin=shown)
    until("the CRD is served", lambda: plane.kube.run("get", "onnxmodels") is not None)
    return plane.token(_NAMESPACE, "onnxmodel-operator-page")


def _path(item: Mapping[str, Any]) -> str:
    return f"{MODELS}/namespaces/{item['metadata']['namespace']}/onnxmodels"


def _status(item: Mapping[str, Any]) -> str:
    return f"{_path(item)}/{item['metadata']['name']}/status"


async def _create(plane: Plane, items: list[dict[str, Any]]) -> None:
    async def one(api: Api, item: dict[str, Any]) -> None:
        await api.post(_path(item), {name: value for name, value in item.items() if name != "status"})
        await api.merge(_status(item), {"status": item["status"]})

    async with connect(plane.control.kubeconfig) as api:
        await asyncio.gather(*(one(api, item) for item in items))


async def _measure(plane: Plane, page: RunningPage, items: list[dict[str, Any]]) -> None:
    async with browsing() as tab, connect(plane.control.kubeconfig) as api:
        await tab.look(1360, 900)
        for name in ("the first viewer", "the next viewer"):
            began = time.monotonic()
            await tab.call("Page.navigate", url=page.address)
            await tab.until(_ROW)
            first = time.monotonic() - began
            await tab.until(_ALL.format(len(items)), 60)
            print(f"{name}: first rows after {first:.2f} s, all {len(items)} after {time.monotonic() - began:.2f} s")
            await tab.until(_LIVE)
            await tab.call("Page.navigate", url="about:blank")
        await tab.call("Page.navigate", url=page.address)
        await tab.until(_LIVE)
        waits = sorted([await _change(api, tab, items[_CHANGED], number) for number in range(_CHANGES)])
        print(f"a change: {statistics.median(waits):.0f} ms in the median, {waits[-1]:.0f} ms at most of {_CHANGES}")
        print(f"a letter in the search: {await tab.evaluate(_SEARCH):.0f} ms")
    memory = Path(f"/proc/{page.process.pid}/status").read_text().splitlines()
    peak = next(line for line in memory if line.startswith("VmHWM"))
    print(f"the page's process: {int(peak.split()[1]) / 1024:.0f} MiB at its peak")


async def _change(api: Api, tab: Tab, item: Mapping[str, Any], number: int) -> float:
    """Milliseconds from the request that changes a model until the words are in the page."""
    key, words = f"{item['metadata']['namespace']}/{item['metadata']['name']}", f"change {number}"
    script = _SEEN.replace("KEY", json.dumps(key)).replace("WORDS", json.dumps(words))
    seen = asyncio.create_task(tab.evaluate(script))
    await asyncio.sleep(0.3)  # the browser watches the row, and the last change is over
    began = time.time()
    await api.merge(_status(item), {"status": {"message": words}})
    return float(await seen) - 1000 * began


if __name__ == "__main__":
    main()
