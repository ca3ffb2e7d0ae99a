"""Run all parts of the operator, as a leader or a standby, until it is asked to terminate."""

import asyncio
import logging
import os
import re
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn

from onnxmodel_operator import metrics
from onnxmodel_operator.cluster.broadcaster import Broadcaster
from onnxmodel_operator.cluster.cache import Cache, Key
from onnxmodel_operator.cluster.client import Client, connect
from onnxmodel_operator.cluster.errors import (
    TRANSIENT,
    ApiError,
    NotLeadingError,
    StaleError,
    in_a_leaving_namespace,
    is_of_an_older_crd,
    is_outage,
)
from onnxmodel_operator.cluster.kinds import MODEL, Kind, watched
from onnxmodel_operator.cluster.lease import Lease, lead
from onnxmodel_operator.cluster.reflector import Changed, Reflector
from onnxmodel_operator.controller.ending import Backstop
from onnxmodel_operator.controller.health import Health, serve
from onnxmodel_operator.controller.meters import Meters
from onnxmodel_operator.controller.outage import Outage
from onnxmodel_operator.controller.pauses import Collector
from onnxmodel_operator.controller.questions import Questions
from onnxmodel_operator.controller.reconcile import reconcile
from onnxmodel_operator.controller.telemetry import Telemetry
from onnxmodel_operator.controller.urgency import decides, is_a_wish
from onnxmodel_operator.controller.workqueue import Urgency, WorkQueue
from onnxmodel_operator.observe.objects import Object
from onnxmodel_operator.platform.settings import Settings

log = logging.getLogger("onnxmodel_operator")
WORKERS = 8
_STALL_PERIOD_SECONDS = 0.1
_SOON_SECONDS = 1.0
"""For changes that only people look at. Kubernetes' own Job controller batches pod events for just as long."""
_OLDER_CRD = "the CRD is older than the operator: apply the CRD of the operator's release (docs/install.md)"
_NOT_KEPT = (
    "the API server drops part of what the operator writes: the CRD is older than the operator, or "
    "a webhook changes the status"
)


class Operator:
    """The parts that run together: the cache, the queue, and the client that they use."""

    def __init__(self, client: Client, settings: Settings, namespaces: Sequence[str] = ()) -> None:
        """namespaces: all whose models it works on, and the only ones that it asks for. Empty: every one."""
        self.client, self.settings = client, settings
        self.cache, self.telemetry, self.collector = Cache(), Telemetry(), Collector()
        self.queue: WorkQueue[Key] = WorkQueue(share=lambda key: key[0])  # namespaces take turns
        self.broadcaster = Broadcaster(client)
        self.meters = Meters(self.cache, self.telemetry, self._wake)
        self.reflectors = [
            Reflector(kind, client, self.cache, self._changed(kind), namespace=namespace)
            for kind in watched(settings)
            for namespace in (namespaces or (None,))
        ]
        outage = Outage(self.queue.retry_all)
        client.heard = outage.heard
        self.health = Health(
            self.queue.__len__,
            {r.name: r.silent_seconds for r in self.reflectors},
            lambda: [r.name for r in self.reflectors if not r.synced.is_set()],
            outage.seconds,
        )
        self.ending: Callable[[], None] = lambda: None
        """Called when the operator is about to end."""
        self.leads: Callable[[], bool] = lambda: True
        self.phases: dict[Key, str] = {}
        self.models: Counter[str] = Counter()  # by phase
        self.said: dict[Key, str] = {}
        """The last message by model whose children the API server refuses, so that a retry does not log it again."""
        self.untold: set[Key] = set()
        """Models whose status the API server refuses because the CRD lacks a field."""
        self.cut: set[Key] = set()
        """Models whose status the API server does not keep whole: a field is missing, and nothing else is wrong."""

    async def run(self) -> None:
        """Start the watches, wait until the cache is complete, then reconcile. Runs until cancelled, or raises."""
        self.health.began = True
        async with asyncio.TaskGroup() as group:

            def begin(part: Coroutine[Any, Any, None]) -> None:
                group.create_task(part).add_done_callback(lambda _: self.ends())  # none of them should be done

            for kind in watched(self.settings):
                metrics.SILENT_SECONDS.labels(kind.name).set_function(partial(self._silent_seconds, kind))
                metrics.EVENT_AGE_SECONDS.labels(kind.name).set_function(partial(self._event_age_seconds, kind))
            for reflector in self.reflectors:
                begin(reflector.run())
            for reflector in self.reflectors:
                await reflector.synced.wait()
            log.info("caches synced: %d models", len(self.cache.keys()))
            begin(self.queue.run(self._work, WORKERS))
            begin(_measure_stalls())
            begin(self.collector.run())
            begin(self.broadcaster.run())
            if self.settings.live_traffic.read:
                begin(self.meters.run())
            if self.settings.prometheus:
                begin(Questions(self.telemetry, self.settings.prometheus.address).run())

    def _silent_seconds(self, kind: Kind) -> float:
        """Return the seconds of the watch of a kind that is silent for longest."""
        return max(reflector.silent_seconds() for reflector in self.reflectors if reflector.kind is kind)

    def _event_age_seconds(self, kind: Kind) -> float:
        """Return the seconds since any of the watches of a kind last told of a change."""
        return min(reflector.event_age_seconds() for reflector in self.reflectors if reflector.kind is kind)

    def _wake(self, key: Key) -> None:
        """Let the model take a turn although none of its objects has changed."""
        self.cache.notes.pop(key, None)
        self.queue.add(key, Urgency.LATER)

    def _changed(self, kind: Kind) -> Changed:
        def changed(key: Key, item: Object | None, *, later: bool) -> None:
            if later:
                self.queue.add(key, Urgency.LATER)
            elif kind is MODEL and (item is None or is_a_wish(item)):
                self.queue.add(key, Urgency.FIRST)  # a new model's first Job does not wait for the next ones of others
            elif decides(kind.name, item):
                self.queue.add(key)
            else:
                self.queue.add_after(key, _SOON_SECONDS)

        return changed

    def ends(self) -> None:
        """Record that the operator is asked to terminate, or that a part of it has ended.

        Further calls change nothing.
        """
        self.health.ending = True
        self.ending()

    async def _work(self, key: Key) -> None:
        began = time.monotonic()
        try:
            outcome = await reconcile(
                key,
                self.cache,
                self.telemetry,
                self.settings,
                self.client,
                datetime.now(UTC),
                self.queue.failures(key),
                lambda: self.queue.forget(key),
                self.broadcaster.add,
            )
        except TRANSIENT as error:
            metrics.RECONCILES.labels("retry").inc()
            seconds = self.queue.retry(key)
            self._say(key, error, seconds)
        except Exception:
            metrics.RECONCILES.labels("retry").inc()
            seconds = self.queue.retry(key)
            log.exception("%s/%s: internal error; retrying in %.1f s", *key, seconds)
        else:
            metrics.RECONCILE_SECONDS.labels(outcome.phase or "none").observe(time.monotonic() - began)
            metrics.RECONCILES.labels("ok").inc()
            self.queue.forget(key)
            self.said.pop(key, None)
            self.untold.discard(key)
            if not self.untold:
                self.health.problem = None
            if outcome.unkept:
                if not self.cut:
                    log.warning("%s (%s/%s: status.%s)", _NOT_KEPT, *key, outcome.unkept)
                self.cut.add(key)
            else:
                self.cut.discard(key)
            if outcome.wrote:
                self.queue.add(key)
            if outcome.requeue_seconds is not None:
                self.queue.add_after(key, outcome.requeue_seconds)
            self._count(key, outcome.phase)
        self.health.beat()

    def _say(self, key: Key, error: Exception, seconds: float) -> None:
        match error:
            case StaleError() | NotLeadingError():
                log.debug("%s/%s: %s; retrying in %.1f s", *key, error, seconds)
            case ApiError() if is_of_an_older_crd(error):
                if not self.untold:
                    log.error("%s (%s/%s: %s)", _OLDER_CRD, *key, error)
                self.untold.add(key)
                self.health.problem = _OLDER_CRD
            case ApiError() if not is_outage(error):
                words = re.sub(r"\d+", "0", str(error))  # a request has its number in some
                quiet = self.said.get(key) == words or in_a_leaving_namespace(error)
                level = logging.DEBUG if quiet else logging.WARNING
                self.said[key] = words
                log.log(level, "%s/%s: %s; retrying in %.1f s", *key, error, seconds)

    def _count(self, key: Key, phase: str | None) -> None:
        before = self.phases.pop(key, None)
        if before:
            self.models[before] -= 1
        if phase:
            self.phases[key] = phase
            self.models[phase] += 1


async def _measure_stalls() -> NoReturn:
    loop, longest = asyncio.get_running_loop(), 0.0
    while True:
        due = loop.time() + _STALL_PERIOD_SECONDS
        await asyncio.sleep(_STALL_PERIOD_SECONDS)
        late = loop.time() - due
        metrics.STALL_SECONDS.observe(late)
        longest = max(longest, late)
        metrics.LONGEST_STALL_SECONDS.set(longest)


async def run(
    settings: Settings, port: int, lease_namespace: str | None, backstop: Backstop, namespaces: Sequence[str] = ()
) -> None:
    """Run all parts until SIGTERM or SIGINT. Raises the error that ends it otherwise."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with connect() as client:
        operator = Operator(client, settings, namespaces)
        operator.ending = backstop.arm
        metrics.LEADING.set_function(lambda: operator.leads())
        metrics.REGISTRY.register(
            metrics.Models(
                lambda: operator.models, operator.queue.ages, operator.queue.__len__, lambda: operator.leads()
            )
        )
        metrics.REGISTRY.register(
            metrics.Speeds(lambda: {key: speed.ratio for key, speed in operator.meters.speeds.items()})
        )
        metrics.REGISTRY.register(metrics.Proofs(operator.telemetry.proofs))
        server = await serve(operator.health, port)
        work = asyncio.create_task(_lead(operator, lease_namespace) if lease_namespace else operator.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        operator.ends()
        stopping.cancel()
        work.cancel()
        try:
            await work
        except asyncio.CancelledError:
            log.info("asked to terminate")
        finally:
            await server.cleanup()


async def _lead(operator: Operator, namespace: str) -> None:
    identity = f"{os.environ.get('POD_NAME') or os.uname().nodename}_{uuid.uuid4()}"
    log.info("waiting for the Lease in %s as %s", namespace, identity)
    lease = Lease(operator.client, namespace, identity)
    operator.client.fence = lease.fence
    operator.leads = lease.leads
    operator.health.unreached = lease.unreached_seconds
    await lead(lease, operator.run)
