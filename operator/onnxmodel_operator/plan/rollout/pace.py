"""Compare the revision that serves with its own proof, by what its servers count. It never stops traffic."""

from onnxmodel_operator.live.speed import Proven, is_slow, latest
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.plan.rollout.active import serve_request
from onnxmodel_operator.plan.values import Pace
from onnxmodel_operator.platform.settings import Settings
from onnxmodel_runtime.contract.text import plain

DEGRADED = "Degraded"
"""The condition that reports it."""


def pace_of(seen: Observed, settings: Settings) -> Pace | None:
    """Return the pace of the revision that the Service selects. None if it has no load test, or nothing is read."""
    proven = _proven(seen)
    if proven is None or not settings.live_traffic.read:
        return None
    factor = settings.live_traffic.slower_factor
    was = was_slow(seen)
    slow = is_slow(seen.metrics, proven, factor, was)
    return Pace(proven, factor, slow, _sentence(seen, proven) if slow and not was else "")


def was_slow(seen: Observed) -> bool:
    """Return whether status reports the revision that the Service selects as slow. Of another one it says nothing."""
    serving, condition = seen.memory.stored.serving, seen.memory.condition(DEGRADED)
    return bool(condition and serving and condition.status == "True" and serving.revision == seen.routed)


def _proven(seen: Observed) -> Proven | None:
    record = seen.memory.revision(seen.routed) if seen.routed else None
    if record is None or record.served is None:
        return None
    served, instances = record.served, serve_request(seen, record.revision).get("instances", 1)
    return Proven(
        record.revision,
        served.p50_milliseconds,
        served.throughput_per_second,
        served.batch_size,
        instances if isinstance(instances, int) and instances > 0 else 1,
    )


def _sentence(seen: Observed, proven: Proven) -> str:
    found, record = latest(seen.metrics, proven), seen.memory.revision(proven.revision)
    sizes = f" at {record.sizes}" if record and record.sizes else ""
    if found is None:
        return f"revision {proven.revision} is slower than proven"
    rows = "1 row" if found.rows < 1.05 else f"{plain(found.rows, 2)} rows"
    return (
        f"executions of revision {proven.revision} take {plain(found.milliseconds, 3)} ms on average for {rows}; the load "
        f"test proved at most {plain(found.proven, 3)} ms for as many{sizes}"
    )
