"""A fleet of OnnxModels in every state, as the operator leaves them: for tests and benchmarks of what reads them.

Deterministic: the same number gives the same model. The statuses are of the API's own models, so a field that is renamed
there fails here.
"""

import hashlib
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from onnxmodel_operator import names
from onnxmodel_operator.api.status import OnnxModelStatus
from onnxmodel_operator.times import format_time

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
STATES = (
    "ready", "degraded", "stalled", "stalled-serving", "validating", "optimizing", "benchmarking", "canary", "suspended",
    "turned-off", "asleep", "warned", "new",
)  # fmt: skip
"""One of each comes first; the rest of a fleet is mostly ready."""
_NAMES = (
    "fraud-scorer", "bert-intent", "yolo-shelf", "whisper-encoder", "churn-gbdt", "resnet50-defects", "clip-image",
    "magika", "ranker-v2", "ocr-lines", "toxicity", "speaker-id", "price-forecast",
)  # fmt: skip
_TEAMS = ("search", "payments", "vision", "speech", "growth", "trust")
_VARIANTS = ("original", "fp32", "fused", "fp16", "int8-dynamic", "ort")
_STAGES = ("validate", "optimize", "benchmark", "loadtest", "probe")
_UNTIL = {"validating": 1, "stalled": 1, "optimizing": 2, "benchmarking": 3}


def state_of(number: int) -> str:
    """Return the state of the model with this number."""
    if number < len(STATES):
        return STATES[number]
    return STATES[0] if number % 10 else STATES[number // 10 % len(STATES)]


def model(number: int, now: datetime = NOW) -> dict[str, Any]:
    """Return a model with its status, as the API server would: without uid and versions."""
    state = state_of(number)
    team, base = _TEAMS[number % len(_TEAMS)], _NAMES[number % len(_NAMES)]
    name = base if number < len(_NAMES) else f"{base}-{number}"
    spec: dict[str, Any] = {
        "source": {"uri": f"s3://models/{team}/{base}/{1 + number % 7}/model.onnx"},
        "benchmark": {"constraints": {"p99Milliseconds": 25, "throughputPerSecond": 400}} if number % 3 != 2 else {},
        "serving": {"replicas": {"turned-off": 0, "asleep": 0}.get(state, 1 + number % 4)},
        "suspend": state == "suspended",
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": f"team-{team}"},
        "spec": spec,
        "status": status(number, name, f"team-{team}", now) if state != "new" else {"observedGeneration": -1},
    }


def status(number: int, name: str, namespace: str, now: datetime = NOW) -> dict[str, Any]:
    """Return the status of a model that the operator has observed."""
    one = _One(number, name, namespace, now)
    return OnnxModelStatus.model_validate(one.status()).dump()


class _One:
    """One model: its state, and figures of its own."""

    def __init__(self, number: int, name: str, namespace: str, now: datetime) -> None:
        self.state, self.name, self.namespace, self.now = state_of(number), name, namespace, now
        self.random = random.Random(number)
        self.p50 = round(self.random.uniform(1.5, 14), 2)
        self.gpu = number % 4 == 1
        self.digest = hashlib.sha256(name.encode()).hexdigest()
        self.replicas = 0 if self.state in ("turned-off", "asleep") else 1 + number % 4
        self.serves = self.state not in ("stalled", "validating", "optimizing", "benchmarking")
        self.finished = _UNTIL.get(self.state, 3 if self.state == "stalled-serving" else len(_STAGES))

    def status(self) -> dict[str, Any]:
        made = self.finished > 1
        return {
            "observedGeneration": 1,
            "phase": self.phase(),
            "reason": self.reason(),
            "message": self.message(),
            "conditions": [*self.conditions()],
            "stages": [self.stage(index) for index in range(self.finished)],
            **({"model": self.described()} if made or self.serves else {}),
            **({"findings": self.findings()} if self.state in ("stalled", "warned") else {}),
            **({"variants": self.variants()} if self.finished > 2 else {}),
            **({"benchmark": self.benchmark()} if self.finished > 2 and self.state != "benchmarking" else {}),
            **(self.served() if self.serves else {}),
            **({"lastFailure": self.failure()} if self.state.startswith("stalled") else {}),
            **(self.sharing() if self.state == "canary" else {}),
        }

    def phase(self) -> str:
        return {
            "validating": "Validating", "optimizing": "Optimizing", "benchmarking": "Benchmarking", "stalled": "Failed",
            "stalled-serving": "Failed", "canary": "RollingOut", "suspended": "Suspended", "turned-off": "TurnedOff",
            "asleep": "ScaledToZero",
        }.get(self.state, "Ready")  # fmt: skip

    def reason(self) -> str:
        return {"stalled": "OpsetTooLow", "stalled-serving": "ConstraintsNotMet", "canary": "Canary"}.get(
            self.state, "Succeeded" if self.phase() == "Ready" else self.phase()
        )

    def message(self) -> str:
        job = f"{self.name}-{_STAGES[self.finished - 1]}-{self.digest[:8]}"
        return {
            "stalled": "the model uses opset 9, and spec.validation.opset.min is 13",
            "stalled-serving": "no candidate meets the constraints: the best p99 is 41.2 ms, and spec.benchmark.constraints."
            "p99Milliseconds is 25",
            "canary": "step 2 of 4: revision 7f3a91c2 has 25 % of the traffic for 3 more minutes",
            "suspended": "spec.suspend is true: the revision that serves goes on serving",
            "turned-off": "spec.serving.replicas is 0",
            "asleep": "there are no requests: the autoscaler has set spec.serving.replicas to 0",
        }.get(self.state, "" if self.phase() == "Ready" else f"Job {job} is running")

    def conditions(self) -> list[dict[str, Any]]:
        words = {"reason": self.reason(), "message": self.message()}
        ready = self.state in ("ready", "degraded", "warned", "asleep")
        stalled = self.state.startswith("stalled")
        rests = stalled or ready or self.state in ("suspended", "turned-off")
        stage = ("Validated", "Optimized", "Benchmarked")
        found = [("Ready", "True" if ready else "False", words)]
        found += [] if rests else [("Reconciling", "True", words)]
        found += [("Stalled", "True", words)] if stalled else []
        for index, kind in enumerate(stage):
            last = index == self.finished - 1 and not self.serves
            done = {"reason": "Succeeded", "message": "no findings" if index == 0 else ""}
            known = "True" if index < self.finished - (not self.serves) else "False" if last and stalled else "Unknown"
            failed = self.state == "stalled-serving" and kind == "Benchmarked"
            found.append((kind, "False" if failed else known, words if last or failed else done))
        up = self.serves and self.replicas > 0
        found.append(("Available", str(up), {"reason": "Serving" if up else "NothingServes", "message": ""}))
        if self.state == "degraded":
            slow = "executions take 1.8 times as long as the load test proved (12.4 ms at batch size 8, proven 6.9 ms)"
            found.append(("Degraded", "True", {"reason": "SlowerThanProven", "message": slow}))
        return [
            {"type": kind, "status": value, **told, "lastTransitionTime": self.ago(minutes=7), "observedGeneration": 1}
            for kind, value, told in found
        ]

    def stage(self, index: int) -> dict[str, Any]:
        last = index == self.finished - 1
        busy = last and self.state in ("validating", "optimizing", "benchmarking")
        failed = last and self.state.startswith("stalled")
        began = 50 - 8 * index
        return {
            "name": _STAGES[index],
            "digest": hashlib.sha256(f"{self.name}{index}".encode()).hexdigest(),
            "state": "Running" if busy else "Failed" if failed else "Succeeded",
            "job": f"{self.name}-{_STAGES[index]}-{self.digest[:8]}"[:63],
            "startTime": self.ago(minutes=began),
            **({} if busy else {"completionTime": self.ago(minutes=began - 4), "seconds": 17.4 * (index + 1)}),
        }

    def described(self) -> dict[str, Any]:
        return {
            "sha256": self.digest, "bytes": 94_371_840, "irVersion": 10, "opset": 20, "producer": "pytorch 2.9",
            "nodes": 412, "parameters": 23_512_130, "uri": f"s3://models/{self.name}/model.onnx", "batch": "First",
            "inputs": [{"name": "pixel_values", "datatype": "FP32", "shape": [-1, 3, 224, 224]}],
            "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 1000]}],
        }  # fmt: skip

    def findings(self) -> list[dict[str, Any]]:
        serious = self.state == "stalled"
        found = {"id": "opset-too-low", "severity": "error", "target": "", "message": "opset is 9, at least 13 is needed",
                 "fix": "Export the model again with opset 13 or newer."}  # fmt: skip
        hint = {"id": "weights-as-inputs", "severity": "warning", "target": "conv1.weight",
                "message": "an initializer is an input too, so it cannot be folded",
                "fix": "Export with keep_initializers_as_inputs=False."}  # fmt: skip
        return [found, hint] if serious else [hint]

    def measured(self, factor: float, noisy: bool = False) -> dict[str, Any]:
        p50 = round(self.p50 * factor, 3)
        return {
            "p50Milliseconds": p50, "p90Milliseconds": round(p50 * 1.12, 3), "p95Milliseconds": round(p50 * 1.2, 3),
            "p99Milliseconds": round(p50 * 1.45, 3), "throughputPerSecond": round(8200 / p50, 1), "batchSize": 8,
            "concurrency": 4, **({"noisy": True} if noisy else {}),
        }  # fmt: skip

    def variants(self) -> list[dict[str, Any]]:
        return [self.variant(index, name) for index, name in enumerate(_VARIANTS)]

    def variant(self, index: int, name: str) -> dict[str, Any]:
        if name == "int8-dynamic":
            return {
                "name": name, "selected": False, "bytes": 24_117_248, "savedPercent": 74.4, "nodes": 520,
                "sha256": hashlib.sha256(name.encode()).hexdigest(),
                "reason": "its outputs differ from the original's: cosine 0.981, required 0.999",
                "parity": self.parity(0.31, passed=False),
            }  # fmt: skip
        factor = (1.6, 1.5, 1.15, 1.0, 0, 1.48)[index]
        chosen = name == "fp16" and self.state != "benchmarking"
        why = "the lowest p50 of those that meet the constraints" if chosen else "slower than fp16 by p50"
        figures = {} if self.state == "benchmarking" else {"measured": self.measured(factor, noisy=name == "ort")}
        return {
            "name": name, "selected": chosen, "reason": why if figures else "is measured now", "nodes": 412 - 31 * index,
            "sha256": hashlib.sha256(name.encode()).hexdigest(), "bytes": 47_185_920 if name == "fp16" else 94_371_840,
            "savedPercent": 50.0 if name == "fp16" else 0.0, "parity": self.parity(2e-4 * index), **figures,
            **({"satisfiesConstraints": self.p50 * factor * 1.45 <= 25} if figures else {}),
        }  # fmt: skip

    def parity(self, difference: float, *, passed: bool = True) -> dict[str, Any]:
        return {"passed": passed, "maxAbsolute": difference, "maxRelative": difference / 2, "output": "logits",
                "cosine": 0.99999 if passed else 0.981, "batchSizes": [1, 8]}  # fmt: skip

    def hardware(self) -> str:
        return "NVIDIA A100-SXM4-40GB" if self.gpu else "AMD EPYC 9R14, 2 cores"

    def benchmark(self) -> dict[str, Any]:
        return {
            "variant": "fp16", "speedup": 1.6, "reason": "fp16 has the lowest p50 of the candidates that meet the constraints: "
            "1.6 times as fast as the original", "winner": self.measured(1), "baseline": self.measured(1.6),
            "processor": "AMD EPYC 9R14", "accelerator": "NVIDIA A100-SXM4-40GB" if self.gpu else "", "cores": 2,
            "versions": {"onnxruntime": "1.31.0", "onnx": "1.23.0"},
        }  # fmt: skip

    def revision(self, name: str, variant: str, factor: float, days: int) -> dict[str, Any]:
        return {
            "revision": name, "variant": variant, "sha256": self.digest, "sourceSha256": self.digest, "opset": 20,
            "runtime": "triton" if self.gpu else "onnxruntime", "provider": self.provider(), "time": self.ago(days=days),
            "served": self.measured(factor * 1.3), "measured": self.measured(factor), "measuredOn": self.hardware(),
        }  # fmt: skip

    def provider(self) -> str:
        return "TensorRT" if self.gpu else "CPU"

    def served(self) -> dict[str, Any]:
        active = self.revision(self.digest[:8], "fp16", 1, 3)
        host = f"{self.name}.{self.namespace}.svc"
        return {
            "serving": {
                "url": f"http://{host}:8000/v2/models/{self.name}", "grpc": f"{host}:8001",
                "metrics": f"http://{host}:8002/metrics", "revision": active["revision"], "runtime": active["runtime"],
                "variant": "fp16", "provider": self.provider(), "providerSharePercent": 96.2 if self.gpu else 100,
                "opset": 20, "sourceSha256": self.digest, "p99": f"{active['served']['p99Milliseconds']:.3g}ms",
                "throughput": f"{active['served']['throughputPerSecond']:.3g}/s", "batching": {"joined": True},
                "replicas": self.replicas, "readyReplicas": self.replicas, "ready": f"{self.replicas}/{self.replicas}",
                "selector": f"{names.LABEL_MODEL}={self.name}",
            },
            "active": active,
            "history": [self.revision("51c0de77", "fp32", 1.5, 16), self.revision("0badf00d", "original", 1.6, 40)],
        }  # fmt: skip

    def failure(self) -> dict[str, Any]:
        job = f"{self.name}-{_STAGES[self.finished - 1]}-{self.digest[:8]}"
        hint = {
            "stalled": "Export the model again with opset 13 or newer, or lower spec.validation.opset.min.",
            "stalled-serving": "Raise spec.benchmark.constraints.p99Milliseconds, choose a faster pool, or set "
            "spec.benchmark.gate to Warn.",
        }[self.state]
        return {
            "stage": _STAGES[self.finished - 1], "reason": self.reason(), "message": self.message(), "exitCode": 10,
            "hint": f"{hint} Log: kubectl -n {self.namespace} logs job/{job} --all-containers.", "job": job, "attempts": 1,
            "field": "spec.validation.opset.min" if self.state == "stalled" else "spec.benchmark.constraints",
            "time": self.ago(minutes=7),
        }  # fmt: skip

    def sharing(self) -> dict[str, Any]:
        return {
            "target": self.revision("7f3a91c2", "fp16", 0.8, 0),
            "rollout": {"revision": "7f3a91c2", "strategy": "Canary", "why": "spec.rollout.strategy is Canary", "step": 2,
                        "backend": "Gateway", "steps": 4, "weight": 25, "since": self.ago(minutes=2),
                        "gate": "312 of 500 requests counted: 0 % errors, p99 8 % below the active revision's"},
            "traffic": [{"revision": self.digest[:8], "wanted": 75, "ready": 75, "measured": 74},
                        {"revision": "7f3a91c2", "wanted": 25, "ready": 25, "measured": 26}],
        }  # fmt: skip

    def ago(self, **amount: int) -> str:
        return format_time(self.now - timedelta(**amount))


def stored(item: Mapping[str, Any], version: int = 1, now: datetime = NOW) -> dict[str, Any]:
    """Return a model as if an API server had stored it."""
    metadata = {
        **item["metadata"],
        "uid": hashlib.md5(item["metadata"]["name"].encode()).hexdigest(),
        "resourceVersion": str(version),
        "generation": 1,
        "creationTimestamp": format_time(now - timedelta(days=version % 60, hours=3)),
    }
    return {**item, "metadata": metadata}
