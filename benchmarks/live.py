"""Measure what reading the metrics of all servers costs the operator: `python -m benchmarks.live [PODS]`.

The servers are one process that answers as a busy server does, on loopback. The CPU is that of the reading process alone.
"""

import asyncio
import multiprocessing
import resource
import sys
import time

from aiohttp import web

from onnxmodel_operator import names
from onnxmodel_operator.cluster.cache import Cache
from onnxmodel_operator.cluster.kinds import POD
from onnxmodel_operator.controller.meters import Meters
from onnxmodel_operator.controller.telemetry import Telemetry
from onnxmodel_operator.live.speed import Proven
from onnxmodel_operator.plan.values import Pace
from onnxmodel_runtime.server.recorder import Compute, Recorder

_HOST, _SECONDS, _SETTLE_SECONDS = "127.0.0.1", 90, 35


def _serve(ready: "multiprocessing.Queue[int]") -> None:
    recorder = Recorder("m")

    async def metrics(_: web.Request) -> web.Response:
        for number in range(300):
            compute = Compute(1000, 2_000_000 + number * 10_000, 1000)
            recorder.execution(1, compute)
            recorder.success(1, 3_000_000 + number * 20_000, 1000, compute)
        return web.Response(text=recorder.metrics())

    async def run() -> None:
        app = web.Application()
        app.add_routes([web.get("/metrics", metrics)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, _HOST, 0)
        await site.start()
        ready.put(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


async def _measure(port: int, pods: int) -> None:
    cache, telemetry = Cache(), Telemetry()
    for number in range(pods):
        labels = {names.LABEL_MODEL: "m", names.LABEL_REVISION: "r"}
        space, name = f"n{number // 2}", f"p{number}"
        metadata = {"name": name, "namespace": space, "uid": name, "resourceVersion": "1", "labels": labels}
        cache.put(POD, {"metadata": metadata, "status": {"phase": "Running", "podIP": _HOST}})
        telemetry.paces[space, "m"] = Pace(Proven("r", 5.0, 200.0, 1), 2.0)
    woken: list[tuple[str, str]] = []
    meters = Meters(cache, telemetry, woken.append, where=lambda _: (_HOST, port))
    running = asyncio.create_task(meters.run())
    await asyncio.sleep(_SETTLE_SECONDS)
    before, cpu, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time(), time.monotonic()
    await asyncio.sleep(_SECONDS)
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    kept = [
        len(readings)
        for live in telemetry.readings.values()
        for known in live.pods.values()
        for readings in known.values()
    ]
    running.cancel()
    print(
        f"{pods} pods: {share:.2%} of a core, {len(kept)} read, {sum(kept)} readings kept, {grown / 1024:.1f} MiB more"
    )


def main() -> None:
    """Run the command line."""
    ready: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=_serve, args=(ready,), daemon=True)
    server.start()
    asyncio.run(_measure(ready.get(), int(sys.argv[1]) if len(sys.argv) > 1 else 300))
    server.kill()


if __name__ == "__main__":
    main()
