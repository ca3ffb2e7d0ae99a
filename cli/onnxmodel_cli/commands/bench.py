"""`onnxmodel bench`: what this machine gets from a model in a cluster."""

import argparse
import json
import sys
import threading
import time
from http.client import HTTPConnection
from typing import Any

from onnxmodel_cli import values
from onnxmodel_cli.cluster.asking import add_inputs, shapes_of
from onnxmodel_cli.cluster.inputs import InputsError, request
from onnxmodel_cli.cluster.kubectl import Kubectl, add_form, add_model, in_cluster, shown
from onnxmodel_cli.cluster.tunnel import TunnelError, ask, tunnel
from onnxmodel_cli.command import Command
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.outcome import ExitCode

_TIMEOUT_SECONDS = 120


def _arguments(parser: Parser) -> None:
    add_model(parser)
    add_form(parser)
    add_inputs(parser)
    parser.add_argument("--seconds", type=values.number(above=True), default=5.0, help="length of the measurement (5)")
    parser.add_argument("--concurrency", type=values.integer(1, 256), default=1, help="concurrent clients (1)")


def _run(options: argparse.Namespace, kubectl: Kubectl) -> int:
    shapes = shapes_of(options)
    proven = (kubectl.model(options.model).get("status") or {}).get("serving") or {}
    path = f"/v2/models/{options.model}"
    try:
        with tunnel(kubectl, options.model) as port:
            metadata = ask(HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS), path)
            body = json.dumps(request(metadata, options.batch, options.size, shapes, options.seed)).encode()
            seconds, times = _measured(port, f"{path}/infer", body, options.seconds, options.concurrency)
    except (TunnelError, InputsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.REFUSED
    figures = _figures(times, seconds, options, proven)
    print(_told(figures) if options.output == "text" else shown(figures, options.output))
    return ExitCode.OK


def _measured(port: int, path: str, body: bytes, seconds: float, clients: int) -> tuple[float, list[float]]:
    """Ask for so long by so many clients. Returns the time and that of each request. Raises TunnelError."""
    times: list[list[float]] = [[] for _ in range(clients)]
    failed: list[TunnelError] = []
    began = time.perf_counter()
    end = began + seconds

    def client(mine: list[float]) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
        try:
            while (now := time.perf_counter()) < end and not failed:
                ask(connection, path, body)
                mine.append(time.perf_counter() - now)
        except TunnelError as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=client, args=(mine,), daemon=True) for mine in times]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        _progress(time.perf_counter() - began, seconds, sum(map(len, times)))
        threads[0].join(0.5) if threads[0].is_alive() else time.sleep(0.05)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if failed:
        raise failed[0]
    return time.perf_counter() - began, sorted(one for mine in times for one in mine)


def _progress(gone: float, seconds: float, requests: int) -> None:
    """Show on a terminal how far it is."""
    if sys.stderr.isatty():
        print(
            f"\r{min(gone, seconds):4.1f} of {seconds:g} s, {requests:,} requests", end="", file=sys.stderr, flush=True
        )


def _figures(times: list[float], seconds: float, options: argparse.Namespace, proven: Any) -> dict[str, Any]:
    def percentile(percent: int) -> float:
        return round(1000 * times[min(len(times) - 1, len(times) * percent // 100)], 3)

    return {
        "requests": len(times),
        "seconds": round(seconds, 3),
        "concurrency": options.concurrency,
        "requestsPerSecond": round(len(times) / seconds, 1),
        **{f"p{percent}Milliseconds": percentile(percent) for percent in (50, 90, 95, 99)},
        "proven": {key: proven[key] for key in ("p99", "throughput", "sizes") if proven.get(key)},
    }


def _told(figures: dict[str, Any]) -> str:
    lines = [
        f"{figures['requests']:,} requests in {figures['seconds']:.1f} s by {figures['concurrency']} clients: "
        f"{figures['requestsPerSecond']:,}/s",
        " ".join(f"p{percent} {figures[f'p{percent}Milliseconds']:g} ms" for percent in (50, 90, 95, 99)),
    ]
    if proven := figures["proven"]:
        lines.append(f"proven by the load test in the cluster: {', '.join(f'{k} {v}' for k, v in proven.items())}")
    lines.append("through kubectl's tunnel to one pod, which has a limit and a latency of its own")
    return "\n".join(lines)


COMMAND = Command(
    "bench",
    "measure a model in a cluster from this machine",
    _arguments,
    in_cluster(_run),
    formats=(),
    epilog="For the figures of a client in the cluster see status.active.served: kubectl's tunnel is slower.",
)
