"""`python -m benchmarks.truth`: what status.benchmark says of every Ready model of a namespace, next to what a client measures.

The client is a pod of its own that asks through the Service, over HTTP and over gRPC, at the batch sizes and concurrencies
that status speaks of. It needs the cluster of `make demo` (or CLUSTER=current), with models in it.
"""

import argparse
import base64
import json
import sys
from pathlib import Path

from onnxmodel_operator import names
from tests.kube import Kube
from tests.platform import Platform

PROTOCOLS = ("http", "grpc")


def main() -> int:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=__doc__)
    parser.add_argument("--namespace", default="demo", help="whose models are asked (demo)")
    parser.add_argument("models", nargs="*", help="their names; all that are Ready")
    options = parser.parse_args()
    platform = Platform()
    kube = platform.kube.within(options.namespace)
    found = [
        item
        for item in kube.list("onnxmodels")
        if item.get("status", {}).get("phase") == "Ready"
        and item["metadata"]["name"] in (options.models or [item["metadata"]["name"]])
    ]
    for item in found:
        print("\n".join(_lines(platform, kube, item)), flush=True)
    if not found:
        print(f"no model in namespace {options.namespace} is Ready", file=sys.stderr)
    return 0 if found else 1


def _lines(platform: Platform, kube: Kube, item: dict) -> list[str]:
    name, benchmark = item["metadata"]["name"], item["status"]["benchmark"]
    said = benchmark["winner"]
    spec = item["spec"]["benchmark"]
    single = (min(spec["batchSizes"]), min(spec["concurrency"]))
    best = (said["batchSize"], said["concurrency"])
    points = [f"{kind}:{batch}:{callers}" for kind in PROTOCOLS for batch, callers in dict.fromkeys((single, best))]
    script = (Path(__file__).with_name("client.py")).read_text()
    host = f"{name}.{kube.namespace}.svc"
    printed = platform.client(kube, f"truth-{name}", script, {"probe.npz": _probe(kube, name)}, host, name, *points)
    seen = {line["point"]: line for line in map(json.loads, printed.splitlines())}
    kube.delete("job", f"truth-{name}")
    kube.delete("configmap", f"truth-{name}")
    lines = [
        "",
        f"{name}: {benchmark['variant']}{', noisy' if said.get('noisy') else ''}",
        f"| figure | batch, callers | status | {' | '.join(f'{kind} | by status' for kind in PROTOCOLS)} |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for figure, key, (batch, callers) in (
        ("p50 ms", "p50", single),
        ("p99 ms", "p99", single),
        ("rows/s", "throughput", best),
    ):
        told = said[{"p50": "p50Milliseconds", "p99": "p99Milliseconds", "throughput": "throughputPerSecond"}[key]]
        cells = []
        for kind in PROTOCOLS:
            value = seen[f"{kind}:{batch}:{callers}"][key]
            cells += [f"{value:.4g}", f"{value / told:.2f}"]
        lines.append(f"| {figure} | {batch}, {callers} | {told:.4g} | {' | '.join(cells)} |")
    return lines


def _probe(kube: Kube, name: str) -> bytes:
    """The row that the benchmark used, from the model's volume."""
    deployment = kube.list("deployments", f"{names.LABEL_MODEL}={name}")[0]["metadata"]["name"]
    command = "base64 $(ls -t /artifacts/optimize/*/probe.npz | head -1)"
    return base64.b64decode(kube.run("exec", f"deployment/{deployment}", "--", "sh", "-c", command))


if __name__ == "__main__":
    sys.exit(main())
