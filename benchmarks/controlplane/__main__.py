"""`python -m benchmarks.controlplane`: what the operator costs, on a real etcd, API server and controller manager."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from benchmarks.controlplane import ours, report, rival
from benchmarks.controlplane.api import connect
from benchmarks.controlplane.plane import running
from benchmarks.controlplane.report import Figures, say
from benchmarks.dataplane.machine import Ticks, shares

PARTS = ("empty", "life", "burst", "first", "restart", "touch", "collect", "takeover", "double", "kserve")


def main() -> int:
    """Print the table. Exit code 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.controlplane", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), metavar="PART,...", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--lives", type=int, default=10, help="one at a time (10)")
    parser.add_argument("--burst", type=int, default=100, help="models of the burst (100)")
    parser.add_argument("--many", type=int, default=500, help="models of the burst for first Jobs (500)")
    parser.add_argument("--ready", type=int, default=614, help="Ready models at a restart (614)")
    parser.add_argument("--takeover", type=int, default=1000, help="Ready models when a leader ends (1000)")
    parser.add_argument("--models", type=int, nargs="*", default=[], help="more restarts, with so many: 5000 10000")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page in Markdown")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an error: what was started ends
    began = Ticks.now()
    figures = asyncio.run(_measure(options))
    figures.shares = shares(began, Ticks.now())
    print("\n".join(report.table(figures)))
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(report.page(figures))
    return 0 if report.held(figures) else 1


async def _measure(options: argparse.Namespace) -> Figures:
    parts, figures = set(options.only.split(",")), Figures()
    for wanted, measure in ((parts - {"kserve"} or options.models, _ours), ("kserve" in parts, _kserve)):
        if wanted:
            try:
                await measure(parts, options, figures)
            except Exception as error:  # what was measured before is not lost
                logging.exception("the rest is left out")
                figures.failures.append(f"{type(error).__name__}: {error}")
    return figures


async def _ours(parts: set[str], options: argparse.Namespace, figures: Figures) -> None:
    with running([ours.USER]) as plane:
        async with connect(plane.control.kubeconfig) as api:
            with ours.kubelet(plane):
                bench = ours.install(plane, api)
                if "empty" in parts:
                    figures.empty = say("empty", await ours.restart(bench))
                if "life" in parts:
                    figures.life = say("life", await ours.one_at_a_time(bench, options.lives))
                if "burst" in parts:
                    figures.burst = say("burst", await ours.burst(bench, options.burst, "bench-burst"))
                if "first" in parts:
                    figures.many = say("first", await ours.burst(bench, options.many, "bench-many"))
                if {"restart", "touch"} & parts:
                    await ours.ensure(bench, options.ready)
                if "restart" in parts:
                    figures.restarts.append(say("restart", await ours.restart(bench)))
                if "touch" in parts:
                    figures.models = say("touch models", await ours.touch_models(bench))
                    figures.children = say("touch children", await ours.touch_children(bench))
                    figures.services = say("touch services", await ours.touch_services(bench))
                if "collect" in parts:
                    await ours.ensure(bench, max(1, bench.ready))
                    figures.collected = say("collect", await ours.collect(bench))
                    figures.restarts.append(say("restart", await ours.restart(bench)))
                if "takeover" in parts:
                    await ours.ensure(bench, max(options.takeover, bench.ready))
                    for how in (signal.SIGKILL, signal.SIGTERM):
                        figures.takeovers.append(say("takeover", await ours.take_over(bench, how)))
                for count in [2 * options.ready] * ("double" in parts) + options.models:
                    await ours.ensure(bench, max(count, bench.ready))
                    figures.restarts.append(say("restart", await ours.restart(bench)))


async def _kserve(_: set[str], options: argparse.Namespace, figures: Figures) -> None:
    rival.program()
    with running([rival.USER]) as plane:
        async with connect(plane.control.kubeconfig) as api:
            with ours.kubelet(plane), rival.installed(plane, api) as other:
                figures.kserve_empty = say("KServe empty", await rival.restart(other))
                figures.kserve_burst = say("KServe burst", await rival.burst(other, options.burst, "burst"))
                figures.kserve_many = say("KServe first", await rival.burst(other, options.many, "many"))
                if rest := options.ready - other.ready:
                    await rival.burst(other, rest, "rest")
                figures.kserve_restart = say("KServe restart", await rival.restart(other))


if __name__ == "__main__":
    sys.exit(main())
