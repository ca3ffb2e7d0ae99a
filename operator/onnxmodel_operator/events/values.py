"""The values of Events."""

from dataclasses import dataclass

_NOTE = 1024  # characters that the API server accepts


@dataclass(frozen=True, slots=True)
class About:
    """The model that an Event is about."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ModelEvent:
    """An Event about a model. action: what was done, one word. warning: a person may have to act."""

    reason: str
    action: str
    note: str
    warning: bool = False


def normal(reason: str, action: str, note: str) -> ModelEvent:
    """Make an Event that needs nobody."""
    return ModelEvent(reason, action, clipped(note))


def warning(reason: str, action: str, note: str) -> ModelEvent:
    """Make an Event of type Warning."""
    return ModelEvent(reason, action, clipped(note), warning=True)


def clipped(note: str) -> str:
    """Put a text on one line, as kubectl's table needs it, and shorten it to what an Event can hold."""
    note = " ".join(note.split())
    return note if len(note) <= _NOTE else note[: _NOTE - 1] + "…"
