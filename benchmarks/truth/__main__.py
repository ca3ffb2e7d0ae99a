"""`python -m benchmarks.truth`: what status.benchmark says, next to what a client of the model's Service measures.

Each model is served by each runtime. In every round benchmark.attempt is raised, so that the operator measures again, and a
pod with perf_analyzer asks the Service right after, at the batch sizes and concurrencies that status speaks of: machines
change from minute to minute. Exit code 1 when a median is beyond the bars.
"""

import argparse
import base64
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml

from benchmarks.dataplane.models import case
from dev import magika
from dev.cluster import builder
from dev.cluster.artifacts import artifact, digest
from dev.cluster.steps import step
from dev.kube import Kube, until
from dev.platform import Platform
from onnxmodel_runtime.contract.text import plain

NAMESPACE = "truth"
RUNTIMES = ("onnxruntime", "triton")
MODELS = ("magika", "middle")
BARS = {"throughput": 0.10, "p99": 0.15, "p50": None}
"""By how much a client's figure may differ from that of status."""
KEYS = {"throughput": "throughputPerSecond", "p99": "p99Milliseconds", "p50": "p50Milliseconds"}
UNITS = {"throughput": "rows/s", "p99": "p99 ms", "p50": "p50 ms"}
PROTOCOLS = ("http", "grpc")


def main() -> int:
    """Print a line for each figure of each round, and the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=RUNTIMES)
    options = parser.parse_args()
    platform = Platform(tests="triton" in options.runtimes)
    platform.install_operator()
    platform.install_s3()
    kube = platform.namespace(NAMESPACE)
    platform.credentials(kube)
    _upload(platform)
    client = _client(platform)
    print(
        "| model | runtime | figure | batch, clients | status |"
        + "".join(f" {kind} | of status |" for kind in PROTOCOLS)
    )
    print("|---|---|---|---|---:|" + "---:|---:|" * len(PROTOCOLS))
    held = True
    for name in options.models:
        for runtime in options.runtimes:
            ratios: dict[tuple[str, str], list[float]] = {}
            for found in _rounds(platform, kube, client, name, runtime, options.rounds):
                for figure in BARS:
                    told, where, seen = found[figure]
                    cells = [f"{plain(seen[kind])} | {seen[kind] / told:.2f}" for kind in PROTOCOLS]
                    print(
                        f"| {name} | {runtime} | {UNITS[figure]} | {where} | {plain(told)} | {' | '.join(cells)} |",
                        flush=True,
                    )
                    for kind in PROTOCOLS:
                        ratios.setdefault((figure, kind), []).append(seen[kind] / told)
            held &= _judged(name, runtime, ratios)
    return 0 if held else 1


def _judged(name: str, runtime: str, ratios: dict[tuple[str, str], list[float]]) -> bool:
    held = True
    for (figure, kind), values in ratios.items():
        bar = BARS[figure]
        fine = bar is None or abs(median(values) - 1) <= bar
        held &= fine
        verdict = "" if bar is None else f", target {bar:.0%}: {'met' if fine else 'MISSED'}"
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(
            f"{name}, {runtime}, {kind}: {UNITS[figure]} {median(values):.2f} of status ({spread}){verdict}", flush=True
        )
    return held


def _upload(platform: Platform) -> None:
    with tempfile.TemporaryDirectory() as scratch, step("models: uploading"):
        middle = case("middle", Path(scratch)).path.read_bytes()
        platform.upload({"truth/magika.onnx": magika.model().read_bytes(), "truth/middle.onnx": middle})


def _client(platform: Platform) -> str:
    """The image with perf_analyzer, which the cluster then has."""
    context = Path(__file__).parent
    dockerfile = context / "Dockerfile"
    key = digest(dockerfile, context / "wheels.txt", builder.recipe())
    name = f"localhost/onnxmodel-perf-analyzer:{key[:12]}"

    def build(archive: Path) -> None:
        with step(f"{name}: building"):
            builder.build(name, dockerfile, context, {}, archive)

    platform.cluster.load(name, artifact("images", "perf-analyzer", key, build, kept=1))
    return name


def _rounds(
    platform: Platform, kube: Kube, client: str, name: str, runtime: str, rounds: int
) -> Iterator[dict[str, tuple[float, str, dict[str, float]]]]:
    """figure -> what status says, where it was measured, and what the client saw by protocol."""
    manifest: dict[str, Any] = yaml.safe_load((Path(__file__).with_name("onnxmodel.yaml")).read_text())
    manifest["metadata"]["name"] = full = f"{name}-{runtime}"
    manifest["spec"]["source"]["uri"] = f"s3://models/truth/{name}.onnx"
    manifest["spec"]["serving"]["runtime"] = runtime
    script = (Path(__file__).with_name("client.py")).read_text()
    _forget(kube, full)  # of a run that was cut off
    try:
        for attempt in range(1, rounds + 1):
            manifest["spec"]["benchmark"]["attempt"] = attempt
            kube.apply(manifest)
            item = until(f"{full} is Ready", lambda: _ready(kube, full), seconds=300, pause=0.5)
            said = item["status"]["active"]["served"]
            spec = item["spec"]["benchmark"]
            single = (min(spec["batchSizes"]), min(spec["concurrency"]))
            best = (said["batchSize"], said["concurrency"])
            points = [
                f"{kind}:{batch}:{callers}" for batch, callers in dict.fromkeys((single, best)) for kind in PROTOCOLS
            ]
            files = {"rows.json": _row(kube, full)}
            printed = platform.client(
                kube, f"ask-{full}", script, files, f"{full}.{NAMESPACE}.svc", full, *points, image=client, cpu="500m"
            )
            seen = {line["point"]: line for line in map(json.loads, printed.splitlines())}
            yield {
                figure: (
                    said[KEYS[figure]],
                    f"{batch}, {callers}",
                    {kind: seen[f"{kind}:{batch}:{callers}"][figure] for kind in PROTOCOLS},
                )
                for figure in BARS
                for batch, callers in [best if figure == "throughput" else single]
            }
    finally:
        _forget(kube, full)


def _forget(kube: Kube, name: str) -> None:
    kube.delete("onnxmodel", name)
    kube.delete("job", f"ask-{name}")
    kube.delete("configmap", f"ask-{name}")


def _ready(kube: Kube, name: str) -> dict[str, Any] | None:
    item = kube.get("onnxmodel", name)
    status = item.get("status", {})
    if any(c["type"] == "Stalled" for c in status.get("conditions", ())):
        raise RuntimeError(f"{name} is Stalled: {status['message']}")
    ready = status.get("phase") == "Ready" and status["observedGeneration"] == item["metadata"]["generation"]
    return item if ready else None


def _row(kube: Kube, name: str) -> bytes:
    """The row that the benchmark used, from the model's volume, as perf_analyzer reads it."""
    command = "base64 $(ls -t /artifacts/optimize/*/probe.npz | head -1)"
    probe = base64.b64decode(kube.run("exec", f"service/{name}", "-c", "server", "--", "sh", "-c", command))
    with np.load(io.BytesIO(probe)) as arrays:
        row = {
            key.removeprefix("input:"): {"content": array.ravel().tolist(), "shape": list(array.shape[1:])}
            for key, array in arrays.items()
            if key.startswith("input:")
        }
    return json.dumps({"data": [row]}).encode()


if __name__ == "__main__":
    sys.exit(main())
