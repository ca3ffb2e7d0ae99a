"""What runs of stages tell, as JSON: nothing here knows the contract's types, so that they can be built anew."""

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

MODEL, DATA = "a" * 64, "d" * 64


def message(command: str, result: Any = None, failure: Any = None, findings: Any = (), seconds: float = 1.5) -> str:
    """A termination message, as a container leaves it."""
    told = {"command": command, "seconds": seconds, "result": result, "failure": failure, "findings": list(findings)}
    text = json.dumps({**told, "retry": False}, sort_keys=True, separators=(",", ":"))
    return PREFIX + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def opened(message: str) -> dict[str, Any]:
    """The reverse: what a container said. Raises ValueError where that cannot be read."""
    try:
        told = json.loads(zlib.decompress(base64.b64decode(message.removeprefix(PREFIX), validate=True)))
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return dict(told)


PREFIX = "onnxmodel/v1:"


def good(stage: str, asked: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a healthy run of the request. changes: what this model's runs tell instead."""
    return _GOOD[stage](asked, changes.get(stage, {}), changes.get("provider", "CPU"))


def _validate(_: Mapping[str, Any], changes: Mapping[str, Any], __: str) -> dict[str, Any]:
    facts = {
        "sha256": MODEL,
        "bytes": 1000,
        "ir_version": 8,
        "opset": 17,
        "producer": "pytorch",
        "nodes": 10,
        "parameters": 100,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    }
    told = {"model": facts, "uri": "s3://models/magika/1/model.onnx", "sizes": {"length": 16}}
    return {**told, **changes}


def _optimize(asked: Mapping[str, Any], changes: Mapping[str, Any], provider: str) -> dict[str, Any]:
    shared = {"data_sha256": changes.get("data_sha256", ""), "unjoined": changes.get("unjoined")}
    original = {
        "name": "original",
        "path": asked["model"],
        "sha256": asked["sha256"],
        "bytes": 1000,
        "nodes": 10,
        "graph_level": asked["graph_level"],
        **shared,
    }
    variants = [original]
    for number, name in enumerate(asked["variants"]):
        if why := changes.get("skipped", {}).get(name):
            variants.append({"name": name, "skipped": why})
            continue
        passed = name not in changes.get("refuted", ())
        parity = {"passed": passed, "max_absolute": 1e-6 if passed else 0.5, "max_relative": 1e-5, "cosine": 1.0}
        variants.append(
            {
                "name": name,
                "path": f"{asked['directory']}/{name}/model.{'ort' if name == 'ort' else 'onnx'}",
                "sha256": f"{number + 2:064x}",
                "bytes": 900 - number,
                "nodes": 7,
                "graph_level": "None",
                "parity": {**parity, "output": "y", "batch_sizes": [1, 3], "note": "" if passed else "y differs"},
                "note": changes.get("note", ""),
                **shared,
            }
        )
    use = {"name": provider, "share_percent": 100.0, "nodes": {provider: 7}}
    told = {"variants": variants, "probe": f"{asked['directory']}/probe.npz", "provider": use, "batch": "First"}
    known = ("batch", "unbatched", "made_inputs")
    return {**told, "made_inputs": True, **{key: changes[key] for key in known if key in changes}}


def _points(variant: str, p50: float, grid: list[tuple[int, int]], rate: float, *, noisy: bool = False) -> list[Any]:
    return [
        {
            "variant": variant,
            "batch_size": batch,
            "concurrency": callers,
            "p50": p50 * batch * callers,
            "p90": p50 * batch * callers * 1.25,
            "p95": p50 * batch * callers * 1.5,
            "p99": p50 * batch * callers * 2,
            "throughput": rate if (batch, callers) == grid[-1] else rate / 2,
            "samples": 100,
            "noisy": noisy,
            "spread": 3,
        }
        for batch, callers in grid
    ]


def _benchmark(asked: Mapping[str, Any], changes: Mapping[str, Any], provider: str) -> dict[str, Any]:
    """The original is slow, the first variant is the fastest, and each one after it a little slower."""
    sizes = changes.get("points", asked["batch_sizes"])
    grid = [(batch, callers) for batch in sizes for callers in asked["concurrency"]]
    left_out = changes.get("left_out", {})
    names = [candidate["name"] for candidate in asked["candidates"] if candidate["name"] not in left_out]
    use = {"name": provider, "share_percent": 100.0, "nodes": {provider: 7}}
    points: list[Any] = []
    for number, name in enumerate(names):
        p50, rate = (4.0, 500.0) if name == "original" else (1.5 + number / 2, 1000.0 - 50 * number)
        points += _points(name, p50, grid, rate, noisy=changes.get("noisy", False))
    return {
        "points": points,
        "provider": use,
        "environment": {
            "processor": "a processor",
            "cores": 2.0,
            "accelerator": "" if provider in ("CPU", "OpenVINO") else "an accelerator",
            "versions": {"onnxruntime": "1.31.1"},
        },
        "load_seconds": {name: changes.get("load_seconds", 0.5) for name in names},
        "memory_bytes": dict.fromkeys(names, 1 << 20),
        "uses": dict.fromkeys(names, use),
        "left_out": left_out,
        "batch": changes.get("batch", "First"),
        "sizes": changes.get("sizes", {"length": 16}),
    }


def _loadtest(asked: Mapping[str, Any], changes: Mapping[str, Any], _: str) -> dict[str, Any]:
    grid = [(load["batch_size"], load["concurrency"]) for load in asked["loads"]]
    points = _points(asked["variant"], changes.get("p50", 2.5), grid, 800.0)
    return {"points": points, "batch": changes.get("batch", "First")}


def _probe(_: Mapping[str, Any], changes: Mapping[str, Any], provider: str) -> dict[str, Any]:
    use = {"name": provider, "share_percent": 100.0, "nodes": {}}
    told = {"http_milliseconds": 3.0, "grpc_milliseconds": 2.0, "max_absolute": 0.0}
    return {**told, "provider": use, "unjoined": changes.get("unjoined")}


_GOOD = {
    "validate": _validate,
    "optimize": _optimize,
    "benchmark": _benchmark,
    "loadtest": _loadtest,
    "probe": _probe,
}
