"""Define what a reconcile writes with."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from onnxmodel_operator.observe import Warned


class Writer(Protocol):
    """What a reconcile writes with: `cluster.client.Client`, or a recorder in a test."""

    async def apply(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make a child what the manifest says. Returns what became of it."""

    async def create(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Apply a child that does not exist yet. Returns it. Raises StaleError where something has its name."""

    async def get(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Any object, ours or not; None where there is none."""

    async def model(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """A model; None where there is none."""

    async def pods(self, namespace: str, job: str) -> Sequence[Mapping[str, Any]]:
        """The pods of a Job."""

    async def warnings(self, namespace: str, uid: str) -> tuple[Warned, ...]:
        """The warning events of an object, the newest first."""

    async def apply_status(
        self, namespace: str, name: str, version: str, status: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Make the status exactly this. Returns the resource. Raises StaleError where that has another version."""

    async def delete(self, kind: str, item: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Delete a child, if it still is what `item` says; one that is not there is fine. Returns it while it is on its
        way out. Raises StaleError where it has changed.
        """
