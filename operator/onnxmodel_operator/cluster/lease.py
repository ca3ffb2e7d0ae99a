"""Leadership by a Lease: of several replicas one works, and another takes over when it is gone."""

import asyncio
from collections.abc import Awaitable, Callable

from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from onnxmodel_operator import names
from onnxmodel_operator.cluster.client import Client

_LEASE_SECONDS = 15  # how long a dead leader holds up the others
_RENEW_DEADLINE_SECONDS = 10  # a leader that could not renew for this long stops, before the Lease ends for the others
_RETRY_SECONDS = 2


class LeaseLost(Exception):
    """Another may lead now: this process must not write once more."""


class _Lock(LeaseLock):  # type: ignore[misc]  # the library has no types
    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        """As the library's own, which in 37.0.1 passes a bool where its client wants a string and so never succeeds."""
        metadata = {"name": name, "namespace": namespace}
        try:
            await self.api_instance.create_namespaced_lease(
                namespace, {"metadata": metadata, "spec": self.update_lease(election_record)}
            )
        except ApiException:
            return False  # another replica was faster
        return True


async def lead(client: Client, namespace: str, identity: str, work: Callable[[], Awaitable[None]]) -> None:
    """Wait for the Lease, then run `work` until it ends. Raises LeaseLost, or what `work` raises, in an ExceptionGroup."""
    leading = asyncio.Event()

    async def start() -> None:
        leading.set()

    config = Config(
        _Lock(names.MANAGER, namespace, identity, client.api),
        lease_duration=_LEASE_SECONDS,
        renew_deadline=_RENEW_DEADLINE_SECONDS,
        retry_period=_RETRY_SECONDS,
        onstarted_leading=start,
        onstopped_leading=None,
    )

    async def hold() -> None:
        await LeaderElection(config).run()
        raise LeaseLost("the Lease could not be renewed")

    async with asyncio.TaskGroup() as group:
        # Not the library's own task for the work: what the work raises would be seen by nobody.
        group.create_task(hold())
        await leading.wait()
        await work()
