"""Names of what belongs to a model, which both sides must make alike."""

import hashlib
import json

_LABEL_LENGTH = 63
_SHORT = 8


def child(model: str, *parts: str) -> str:
    """Return `<model>-<part>-…`, at most 63 characters: pod labels carry Job names, and a label is no longer.

    A long model name is cut and marked with its own digest, so that two models never share a child's name.
    """
    tail = "".join(f"-{part}" for part in parts)
    room = _LABEL_LENGTH - len(tail)
    if len(model) > room:
        mark = hashlib.sha256(json.dumps(model).encode()).hexdigest()[:_SHORT]
        model = f"{model[: room - _SHORT - 1].rstrip('-')}-{mark}"
    return model + tail
