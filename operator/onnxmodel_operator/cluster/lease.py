"""Leadership by a Lease: of several replicas one works, and another takes over when it is gone.

The official client's election, wrapped so that what happens on loss is the caller's: it ends the process, because a
leader that lost its Lease must not write once more.
"""

from collections.abc import Awaitable, Callable

from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from onnxmodel_operator import names
from onnxmodel_operator.cluster.client import Client

_LEASE_SECONDS = 15  # how long a dead leader holds up the others
_RENEW_DEADLINE_SECONDS = 10  # a leader that could not renew for this long stops, before the Lease ends for the others
_RETRY_SECONDS = 2


async def lead(client: Client, namespace: str, identity: str, work: Callable[[], Awaitable[None]]) -> None:
    """Wait for the Lease, then run `work`. Returns when the Lease was lost; `work` is cancelled then."""
    config = Config(
        LeaseLock(names.MANAGER, namespace, identity, client.api),
        lease_duration=_LEASE_SECONDS,
        renew_deadline=_RENEW_DEADLINE_SECONDS,
        retry_period=_RETRY_SECONDS,
        onstarted_leading=work,
        onstopped_leading=None,
    )
    await LeaderElection(config).run()
