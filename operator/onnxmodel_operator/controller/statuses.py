"""Write the status of a model, or that the API server refuses it."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from onnxmodel_operator import names
from onnxmodel_operator.api.resource import Resource
from onnxmodel_operator.cluster.cache import Cache
from onnxmodel_operator.cluster.errors import ApiError, StaleError
from onnxmodel_operator.cluster.kinds import MODEL
from onnxmodel_operator.controller.troubles import refuses_content, status_refused
from onnxmodel_operator.controller.turn import Turn
from onnxmodel_operator.controller.writer import Writer
from onnxmodel_operator.drift import difference
from onnxmodel_operator.events import between
from onnxmodel_operator.events.stages import runs_ended
from onnxmodel_operator.events.values import About, ModelEvent
from onnxmodel_operator.metrics import STAGE_SECONDS, WRITES
from onnxmodel_operator.observe.memory import read
from onnxmodel_operator.status import excused

log = logging.getLogger(__name__)

Told = Callable[[About, tuple[ModelEvent, ...]], None]
"""Takes the Events that a status brings. Must neither wait nor fail."""


async def write_status(
    turn: Turn, status: Mapping[str, Any], cache: Cache, writer: Writer, now: datetime, told: Told
) -> str:
    """Write the status and tell what is new in it. If the API server refuses its content, write that, and make it the
    turn's error.

    Returns the first field that the API server does not keep.
    """
    resource = turn.resource
    try:
        return await _write(turn, status, cache, writer, told)
    except ApiError as error:
        if not refuses_content(error):
            raise
        turn.error = first = turn.error or error
        excuse = excused(resource, turn.seen, status_refused(error), now)
    if without_messages(excuse) == without_messages(resource.status):
        return ""
    try:
        return await _write(turn, excuse, cache, writer, told)
    except ApiError as error:
        if not refuses_content(error):
            raise
        raise first from error


async def _write(turn: Turn, status: Mapping[str, Any], cache: Cache, writer: Writer, told: Told) -> str:
    resource = turn.resource
    metadata = (cache.snapshot((resource.namespace, resource.name)).model or {}).get("metadata", {})
    if metadata.get("uid") != resource.uid:
        raise StaleError(409, f"OnnxModel {resource.name} has been deleted")
    WRITES.labels("apply", "OnnxModel/status").inc()
    answer = await writer.apply_status(resource.namespace, resource.name, metadata["resourceVersion"], status)
    cache.put(MODEL, answer)
    turn.news |= read(status, resource.uid).decisive != turn.seen.memory.decisive
    log.info("%s/%s: %s: %s", resource.namespace, resource.name, status["phase"], status["message"])
    _announce(turn, answer.get("status") or {}, told)
    if unkept := difference(status, answer.get("status") or {}):
        cache.admitted[resource.uid] = _fingerprint_of(status, answer.get("status") or {})
    return unkept


def _announce(turn: Turn, stored: Mapping[str, Any], told: Told) -> None:
    """Tell what is new in the status as it is stored: a field that the API server does not keep would be news each time.

    The status is written: a defect here must not keep the model from its next turn.
    """
    resource = turn.resource
    try:
        before, after = turn.seen.memory.stored, read(stored, resource.uid).stored
        for stage, end, seconds in runs_ended(before, after):
            STAGE_SECONDS.labels(stage, end).observe(seconds)
        told(About(resource.namespace, resource.name, resource.uid), between(before, after))
    except Exception:
        log.exception("%s/%s: cannot tell what has changed in its status", resource.namespace, resource.name)


def is_cut(cache: Cache, resource: Resource, status: Mapping[str, Any]) -> bool:
    """Return whether the stored status is what the API server kept of this one when it was last written.

    An older CRD lacks some of its fields.
    """
    known = cache.admitted.get(resource.uid)
    return known is not None and known == _fingerprint_of(status, resource.status)


def _fingerprint_of(sent: Mapping[str, Any], left: Mapping[str, Any]) -> str:
    return names.digest([sent, left])


def without_messages(status: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the fields that identify a refusal.

    The message is not among them: it may contain the number of a request, and each retry would write the status again.
    """
    return status.get("phase"), status.get("reason"), status.get("observedGeneration"), status.get("stages")
