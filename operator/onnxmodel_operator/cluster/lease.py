"""Leadership by a Lease, after client-go's leader election: one of several replicas works, and a standby takes over from it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

from onnxmodel_operator import names
from onnxmodel_operator.cluster.errors import TRANSIENT, ApiError, NotLeadingError

log = logging.getLogger(__name__)

LEASE_SECONDS = 15.0
"""Time in seconds until another replica may take over from a leader that is gone."""
RENEW_SECONDS = 10.0
"""A leader that could not renew for this long writes nothing: what it began before ends before the Lease does."""
_RETRY_SECONDS = 2.0
_REQUEST_SECONDS = 5.0


class LeaseLost(Exception):
    """Another replica leads: this process must not write again."""


class Store(Protocol):
    """Reads and writes the Lease: `cluster.client.Client`."""

    async def read_lease(self, namespace: str, name: str, timeout: float) -> Mapping[str, Any] | None:
        """Get the Lease. None if there is none."""

    async def write_lease(self, lease: Mapping[str, Any], timeout: float) -> Mapping[str, Any]:
        """Create the Lease, or replace the one of its resourceVersion.

        Returns it. Raises ApiError 409 on a conflict.
        """


class Lease:
    """This process's part in the election. Time is the monotonic clock's; the times in the Lease are for people."""

    def __init__(
        self, store: Store, namespace: str, identity: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take part in the election. identity: unique for each process, restarted ones included."""
        self._store, self._namespace, self._identity, self._clock = store, namespace, identity, clock
        self._held: Mapping[str, Any] | None = None  # as this process wrote it last
        self._sent = 0.0  # when that was asked for
        self._asked = False  # whether it ever asked to hold it: the answer may not have come
        self._watched: tuple[str, float] | None = None  # the resourceVersion of another's, and since when it is that
        self._silent = False
        self._reached = clock()  # when the API server last answered as it should, or since when it is asked

    def fence(self) -> float:
        """Return the seconds that a write may take. Raises NotLeadingError where another replica may lead."""
        if not self.leads():
            raise NotLeadingError(0, "the Lease was not renewed in time, and another replica may be the leader")
        return LEASE_SECONDS - (self._clock() - self._sent)

    def leads(self) -> bool:
        """Return whether a write may begin now."""
        return self._held is not None and self._clock() - self._sent < RENEW_SECONDS

    def unreached_seconds(self) -> float:
        """Return the seconds since a request for the Lease last succeeded: a read, an acquisition or a renewal."""
        return self._clock() - self._reached

    async def acquire(self) -> None:
        """Wait until this process leads."""
        while not await self.try_acquire():
            await asyncio.sleep(_RETRY_SECONDS)

    async def try_acquire(self) -> bool:
        """Take the Lease if it is free, or was not renewed for as long as it lasts.

        While the API server does not answer, its holder cannot renew it: that time does not count.
        """
        sent = self._clock()
        try:
            found = await self._store.read_lease(self._namespace, names.MANAGER, _REQUEST_SECONDS)
            if found and not self._free(found):
                self._say(None)
                return False
            self._asked = True
            self._held = await self._store.write_lease(self._taken(found), _REQUEST_SECONDS)
        except TRANSIENT as error:
            self._watched = None
            self._say(None if isinstance(error, ApiError) and error.status == 409 else error)  # 409: another was faster
            return False
        self._sent = sent
        self._say(None)
        return True

    async def hold(self) -> NoReturn:
        """Renew the Lease. Raises LeaseLost when another has it. While the API server does not answer, nobody can take it."""
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            await self.renew()

    async def renew(self) -> None:
        """Renew the Lease once, if the API server answers. Raises LeaseLost."""
        assert self._held is not None
        sent = self._clock()
        try:
            try:
                self._held = await self._store.write_lease(self._renewed(self._held), _REQUEST_SECONDS)
            except ApiError as error:
                if error.status not in (404, 409):
                    raise
                # Another has it, someone edited or deleted it, or the answer to this process's own write was lost.
                found = await self._store.read_lease(self._namespace, names.MANAGER, _REQUEST_SECONDS)
                if found and _holder(found) != self._identity:
                    self._held = None
                    raise LeaseLost(f"{_holder(found) or 'nobody'} holds the Lease") from error
                self._held = await self._store.write_lease(self._taken(found), _REQUEST_SECONDS)
        except TRANSIENT as error:
            self._say(error)
            return
        self._sent = sent
        self._say(None)

    async def release(self) -> None:
        """Let a standby take over at once. Nothing may be written afterwards."""
        held, self._held = self._held, None
        try:
            if held is not None:
                try:
                    await self._store.write_lease(_released(held), _REQUEST_SECONDS)
                    return
                except ApiError as error:
                    if error.status != 409:
                        raise
            elif not self._asked:
                return
            # A write that was cut short may have arrived: what this process knows of the Lease is not what is there.
            found = await self._store.read_lease(self._namespace, names.MANAGER, _REQUEST_SECONDS)
            if found and _holder(found) == self._identity:
                await self._store.write_lease(_released(found), _REQUEST_SECONDS)
        except TRANSIENT as error:
            log.warning("cannot release the Lease, which expires by itself: %s", error or type(error).__name__)

    def _free(self, found: Mapping[str, Any]) -> bool:
        if _holder(found) in ("", self._identity):  # its own: it was taken, and the answer was lost
            return True
        version, now = found["metadata"]["resourceVersion"], self._clock()
        if self._watched is None or self._watched[0] != version:
            self._watched = version, now
        return now - self._watched[1] >= LEASE_SECONDS

    def _taken(self, found: Mapping[str, Any] | None) -> dict[str, Any]:
        if found and _holder(found) == self._identity:
            return self._renewed(found)
        metadata = found["metadata"] if found else {"name": names.MANAGER, "namespace": self._namespace}
        transitions = found.get("spec", {}).get("leaseTransitions", 0) + 1 if found else 0
        spec = {"acquireTime": _now(), "leaseTransitions": transitions}
        return self._renewed({"metadata": metadata, "spec": spec})

    def _renewed(self, lease: Mapping[str, Any]) -> dict[str, Any]:
        spec = {
            **lease.get("spec", {}),
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(LEASE_SECONDS),
            "renewTime": _now(),
        }
        return {"metadata": lease["metadata"], "spec": spec}

    def _say(self, error: Exception | None) -> None:
        """Once when it goes wrong, and once when it goes well again."""
        if error and not self._silent:
            log.warning("cannot read or renew the Lease: %s", str(error) or type(error).__name__)
        elif self._silent and not error:
            log.info("the Lease can be read and renewed again")
        self._silent = error is not None
        if not error:
            self._reached = self._clock()


def _released(lease: Mapping[str, Any]) -> dict[str, Any]:
    spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
    return {"metadata": lease["metadata"], "spec": spec}


def _holder(lease: Mapping[str, Any]) -> str:
    return str(lease.get("spec", {}).get("holderIdentity") or "")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def lead(lease: Lease, work: Callable[[], Awaitable[None]]) -> None:
    """Wait for the Lease, then run `work` until it ends, and release the Lease.

    Raises LeaseLost, or what `work` raises, in an ExceptionGroup.
    """
    try:
        await lease.acquire()
        log.info("leading")
        async with asyncio.TaskGroup() as group:
            group.create_task(lease.hold())
            await work()
    finally:
        await lease.release()
