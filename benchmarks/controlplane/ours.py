"""The operator under measurement: lives, restarts, and events that change nothing."""

import asyncio
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.controlplane.api import MODELS, Api
from benchmarks.controlplane.plane import Plane, install_operator
from benchmarks.controlplane.replay import copies, store, template
from benchmarks.controlplane.subject import Audit, Many, Meter, Spent, Subject, started
from dev.cluster.steps import step
from dev.ports import reserved
from onnxmodel_operator import names
from onnxmodel_operator.cluster.cache import key_of
from onnxmodel_operator.cluster.kinds import ALL
from onnxmodel_operator.platform.settings import load

NAMESPACE = "onnxmodel-system"
ACCOUNT = "onnxmodel-operator"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
_SPEC = {"source": {"uri": "s3://models/magika/1/model.onnx"}}
_STALL = "onnxmodel_operator_loop_stall_longest_seconds"
_PER_NAMESPACE = 250
_KEEP = "keepSucceededSeconds: 3600"
_TOUCHED = 1000  # objects at most: more tell nothing more


@dataclass
class Bench:
    """State that the parts share. ready: the number of Ready models in the namespaces."""

    plane: Plane
    api: Api
    kubeconfig: Path
    settings: Path
    ready: int = 0
    namespaces: list[str] = field(default_factory=list)
    collected: bool = False
    """True once the finished Jobs of all lives are removed."""
    sample: tuple[str, str] = ("", "")
    """Namespace and name of a model that is Ready."""

    @contextmanager
    def operator(self, *arguments: str) -> Iterator[tuple[Subject, Meter]]:
        """The operator as a process with nothing behind it yet, and a meter of it since its very start."""
        control = self.plane.control
        audit = Audit(control.audit_log, USER)
        audit.read()
        with ExitStack() as stack:
            (port,) = stack.enter_context(reserved(1))
            command = [
                sys.executable,
                "-m",
                "onnxmodel_operator",
                "--settings",
                str(self.settings),
                "--port",
                str(port),
            ]
            at, log = f"http://127.0.0.1:{port}", control.state / "log" / "operator.log"
            env = {"KUBECONFIG": str(self.kubeconfig)}
            before = audit.read()
            subject = stack.enter_context(
                started([*command, *arguments], log, audit, f"{at}/metrics", f"{at}/readyz", env)
            )
            yield subject, Meter(subject, before)

    async def namespace(self, name: str) -> None:
        """A namespace for models, if it is not there."""
        if name not in self.namespaces:
            await self.api.post("/api/v1/namespaces", {"metadata": {"name": name}})
            self.namespaces.append(name)

    async def create(self, namespace: str, count: int, first: int = 0) -> None:
        """So many models at once."""
        await asyncio.gather(*(self.create_one(namespace, f"m-{first + i:05}") for i in range(count)))

    async def create_one(self, namespace: str, name: str) -> None:
        """One model."""
        item = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": name}, "spec": _SPEC}
        await self.api.post(f"{MODELS}/namespaces/{namespace}/onnxmodels", item)

    async def all_ready(self, namespace: str, count: int, seconds: float = 1800) -> None:
        """Until so many models of the namespace are Ready."""
        path, end, found = f"{MODELS}/namespaces/{namespace}/onnxmodels", time.monotonic() + seconds, 0
        while found < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{found} of {count} models in {namespace} are Ready after {seconds:.0f} s")
            await asyncio.sleep(0.05 if count == 1 else 0.5 + count / 1000)
            found = sum(row["READY"] == "True" for row in await self.api.table(path))


@dataclass(frozen=True)
class Lives(Many):
    """The cost of so many lives.

    first: seconds until each model's first Job, sorted. stall: the event loop's longest.
    """

    first: list[float] = field(repr=False)
    stall: float


async def one_at_a_time(bench: Bench, count: int) -> Lives:
    """Each life from created to Ready before the next one begins."""
    await bench.namespace("bench-one")
    with bench.operator() as (subject, _):
        subject.wait_ready()
        subject.wait_idle()
        meter = Meter(subject)
        for _ in range(count):
            bench.ready += 1
            await bench.create_one("bench-one", f"m-{bench.ready:05}")
            await bench.all_ready("bench-one", bench.ready, 120)
            bench.sample = "bench-one", f"m-{bench.ready:05}"
        return _lives(bench, subject, meter, count, [])


async def burst(bench: Bench, count: int, name: str) -> Lives:
    """All at once, in a namespace of their own."""
    await bench.namespace(name)
    with bench.operator() as (subject, _):
        subject.wait_ready()
        subject.wait_idle()
        first: dict[str, float] = {}
        watching = asyncio.create_task(_first_jobs(bench.api, name, first))
        await asyncio.sleep(0.2)
        meter, began = Meter(subject), time.monotonic()
        await bench.create(name, count)
        await bench.all_ready(name, count)
        watching.cancel()
        bench.ready, bench.sample = bench.ready + count, (name, "m-00000")
        return _lives(bench, subject, meter, count, sorted(at - began for at in first.values()))


def _lives(bench: Bench, subject: Subject, meter: Meter, count: int, first: list[float]) -> Lives:
    subject.wait_idle()
    return Lives(count, meter.read(), first, subject.metrics().get(_STALL, math.nan))


async def _first_jobs(api: Api, namespace: str, first: dict[str, float]) -> None:
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    async for event, job in api.watch(path, metadata=True, labelSelector=names.SELECTOR):
        if event == "ADDED":
            first.setdefault(job["metadata"]["labels"][names.LABEL_MODEL], time.monotonic())


@dataclass(frozen=True)
class Restart:
    """From the start of a process until it is ready and idle with so many models. jobs: their finished Jobs are there.

    turn_ms: the mean time of a reconcile.
    """

    models: int
    jobs: bool
    spent: Spent
    ready_seconds: float
    memory: int
    own: int
    stall: float
    turns: int
    turn_ms: float


async def ensure(bench: Bench, count: int) -> None:
    """So many Ready models: what lacks is copied from a real life. No life can follow, for no controllers run."""
    if not bench.ready:
        await one_at_a_time(bench, 1)
    if bench.ready == count:
        return
    bench.plane.stop_controllers()
    items, settings = [], load(bench.settings)
    for kind in ALL:
        found = (await bench.api.get(kind.path(bench.sample[0])))["items"]
        found = [item for item in found if key_of(kind, item) == bench.sample]
        items += [
            {"apiVersion": f"{kind.group}/{kind.version}".lstrip("/"), "kind": kind.name, **item} for item in found
        ]
    made = await template(items, settings, datetime.now(UTC))
    with step(f"{count - bench.ready:,} models: copying"):
        while bench.ready < count:
            name = f"bench-copy-{bench.ready:05}"
            await bench.namespace(name)
            several = min(count - bench.ready, _PER_NAMESPACE)
            for _ in range(several):
                bench.ready += 1
                await store(bench.plane.etcd, copies(made, name, f"m-{bench.ready:05}"))
        await _caught_up(bench.api)


async def _caught_up(api: Api) -> None:
    """Until the API server's caches have seen what etcd has, for two minutes a kind at most: they lag behind such a flood."""
    for kind in ALL:
        newest = int((await api.get(kind.path(), limit="1"))["metadata"]["resourceVersion"])
        for _ in range(240):
            cached = await api.get(kind.path(), labelSelector="no=such", resourceVersion="0")
            if int(cached["metadata"]["resourceVersion"]) >= newest:
                break
            await asyncio.sleep(0.5)


async def restart(bench: Bench) -> Restart:
    """Start the operator beside what is Ready."""
    with bench.operator() as (subject, meter):
        return _restarted(bench, subject, meter)


def _restarted(bench: Bench, subject: Subject, meter: Meter) -> Restart:
    began = time.monotonic()
    subject.wait_ready()
    ready = time.monotonic() - began
    subject.wait_idle()
    spent, memory, metrics = meter.read(), subject.memory(), subject.metrics()
    turns, seconds = _turns(metrics)
    return Restart(
        bench.ready,
        not bench.collected,
        spent,
        ready,
        memory.resident,
        memory.own,
        metrics.get(_STALL, math.nan),
        turns,
        1000 * seconds / turns if turns else math.nan,
    )


@dataclass(frozen=True)
class Collected:
    """The removal of the finished Jobs of so many models, from the start of the process."""

    models: int
    spent: Spent


async def collect(bench: Bench) -> Collected:
    """Remove every finished Job, as the operator does an hour after its end. What follows is without them.

    Their pods go by the harness, for the garbage collector does not run.
    """
    assert _KEEP in bench.settings.read_text()
    bench.plane.stop_controllers()
    bench.settings.write_text(bench.settings.read_text().replace(_KEEP, "keepSucceededSeconds: 0"))
    with bench.operator() as (subject, meter):
        subject.wait_ready()
        subject.wait_idle()
        spent = meter.read()
    bench.collected = True
    for namespace in bench.namespaces:
        await bench.api.delete(f"/api/v1/namespaces/{namespace}/pods", labelSelector=names.LABEL_STAGE)
    return Collected(bench.ready, spent)


@dataclass(frozen=True)
class Touched:
    """CPU for touches: events that the watches told of, and reconciles that they led to."""

    events: int
    turns: int
    cpu_seconds: float
    writes: int


async def touch_models(bench: Bench) -> Touched:
    """An annotation on each model that nobody reads."""
    return await _annotated(bench, f"{MODELS}/{names.PLURAL}", f"{MODELS}/namespaces/%s/{names.PLURAL}/%s")


async def touch_services(bench: Bench) -> Touched:
    """An annotation of another hand on each Service: a reconcile, which finds that everything is as it should be."""
    return await _annotated(bench, "/api/v1/services", "/api/v1/namespaces/%s/services/%s", names.SELECTOR)


async def _annotated(bench: Bench, path: str, each: str, selector: str = "") -> Touched:
    items = await _items(bench, path, selector)
    places = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in items]
    patch = {"metadata": {"annotations": {"example.com/touched": "1"}}}
    return await _touched(bench, [bench.api.merge(each % place, patch) for place in places])


async def touch_children(bench: Bench) -> Touched:
    """Another hand owns a field of each Deployment, then does not: managed fields and a resource version change alone."""
    items, group = await _items(bench, "/apis/apps/v1/deployments"), "/apis/apps/v1"

    async def own(item: dict[str, Any]) -> None:
        metadata = {key: item["metadata"][key] for key in ("name", "namespace")}
        path = f"{group}/namespaces/{metadata['namespace']}/deployments/{metadata['name']}"
        label = {names.MANAGED_BY: names.MANAGER}
        for labels in (label, {}) * 2:
            manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {**metadata, "labels": labels}}
            await bench.api.apply(path, manifest, "bench")

    return await _touched(bench, [own(item) for item in items])


async def _touched(bench: Bench, touches: list[Any]) -> Touched:
    with bench.operator() as (subject, _):
        subject.wait_ready()
        subject.wait_idle()
        before, meter = subject.metrics(), Meter(subject)
        await asyncio.gather(*touches)
        subject.wait_idle()
        spent, after = meter.read(), subject.metrics()
        events = sum(value - before.get(name, 0) for name, value in after.items() if "_operator_events_total" in name)
        return Touched(int(events), _turns(after)[0] - _turns(before)[0], spent.cpu_seconds, spent.writes)


@dataclass(frozen=True)
class TakenOver:
    """The time from a leader's end to a standby's first Job of a new model."""

    models: int
    how: str
    seconds: float


async def take_over(bench: Bench, how: signal.Signals) -> TakenOver:
    """Two replicas, one Lease; the leader gets the signal, and a model is created at that moment."""
    arguments, name = ("--lease-namespace", NAMESPACE), f"bench-{how.name.lower()}"
    await bench.namespace(name)
    with bench.operator(*arguments) as (leader, _):
        leader.wait_ready()  # as a standby is, too
        leader.wait_idle()
        with bench.operator(*arguments) as (standby, _):
            standby.wait_idle()
            jobs: dict[str, float] = {}
            watching = asyncio.create_task(_first_jobs(bench.api, name, jobs))
            await asyncio.sleep(0.2)
            leader.process.send_signal(how)
            began = time.monotonic()
            await bench.create_one(name, "m-00000")
            while "m-00000" not in jobs and time.monotonic() - began < 120:
                await asyncio.sleep(0.02)
            watching.cancel()
            leader.process.wait(30)
            await bench.api.delete(f"{MODELS}/namespaces/{name}/onnxmodels/m-00000")
            return TakenOver(bench.ready, how.name, jobs.get("m-00000", math.inf) - began)


def _turns(metrics: dict[str, float]) -> tuple[int, float]:
    """Reconciles and their seconds."""
    name = "onnxmodel_operator_reconcile_seconds"
    counted = sum(value for key, value in metrics.items() if key.startswith(f"{name}_count"))
    return int(counted), sum(value for key, value in metrics.items() if key.startswith(f"{name}_sum"))


async def _items(bench: Bench, path: str, selector: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await bench.api.get(path, limit=str(_TOUCHED), labelSelector=selector))["items"]
    return found


@contextmanager
def kubelet(plane: Plane) -> Iterator[None]:
    """The played kubelet, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.controlplane.kubelet", str(plane.control.kubeconfig)]
    log = plane.control.state / "log" / "kubelet.log"
    with started(command, log, Audit(Path("/dev/null"), ""), "", "", {}) as subject:
        yield
        if subject.process.poll() is not None:
            raise RuntimeError(f"the played kubelet ended: {log.read_text()[-2000:]}")


def install(plane: Plane, api: Api) -> Bench:
    """The operator's rights and the CRD."""
    return Bench(plane, api, *install_operator(plane, NAMESPACE))
