"""Define the interface that a reconcile writes with."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from onnxmodel_operator.observe import Warned


class Writer(Protocol):
    """The writes and reads of a reconcile: `cluster.client.Client`, or a recorder in a test."""

    async def apply(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Apply a child. Returns the object as stored."""

    async def create(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Apply a child that does not exist yet. Returns the object as stored. Raises StaleError if the name is taken."""

    async def get(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Get an object, ours or not; None if there is none."""

    async def model(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Get a model; None if there is none."""

    async def pods(self, namespace: str, job: str) -> Sequence[Mapping[str, Any]]:
        """List the pods of a Job."""

    async def warnings(self, namespace: str, uid: str) -> tuple[Warned, ...]:
        """List the warning events of an object, newest first."""

    async def apply_status(
        self, namespace: str, name: str, version: str, status: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Replace the status. Returns the resource. Raises StaleError if its version differs."""

    async def delete(self, kind: str, item: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Delete a child if it is still as `item` says; a missing one is fine. Returns the object while it is
        terminating.

        Raises StaleError if it has changed.
        """
