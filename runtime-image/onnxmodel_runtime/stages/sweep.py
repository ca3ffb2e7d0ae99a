"""Sweep: remove what deleted models left in the store of artifacts.

The inventory of models comes from a container that may ask the API server and has no key of the store; this one has the
keys and no access to the API server.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from onnxmodel_runtime.contract.store import SweepRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sandbox.progress import log
from onnxmodel_runtime.sources.authorities import trusted
from onnxmodel_runtime.store.index import FOLDERS, RETAIN
from onnxmodel_runtime.store.objects import Listed, Objects, take_store_credentials

_SECONDS = 60.0
_LEVELS = 3  # NAMESPACE/NAME/UID


def sweep(request: SweepRequest, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Remove the parts of models that are not in the inventory, and mark those of models that are retained."""
    take_store_credentials()
    retained, before = _inventory(Path(request.models)), datetime.now(UTC) - timedelta(seconds=request.seconds)
    with trusted(), closing(Objects(request.bucket, _SECONDS, pause)) as objects:
        for part, there in _parts(objects.list("")).items():
            uid = part.rpartition("/")[2]
            if uid in retained:
                _mark(objects, part, retained[uid], RETAIN in there)
            elif RETAIN not in there and max(item.time for item in there.values()) < before:
                # Indexes first: what is cut short leaves blobs that nothing names, and they go the next time.
                for name in sorted(there, key=lambda name: (not name.startswith(FOLDERS), name)):
                    objects.delete(f"{part}/{name}")
                log(f"removed {part}: {len(there)} objects")


def _inventory(path: Path) -> Mapping[str, bool]:
    """Read the uids of all models, each with whether its artifacts are retained."""
    try:
        models = json.loads(path.read_bytes())["models"]
        return {str(model["uid"]): bool(model["retain"]) for model in models}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(
            "RequestInvalid",
            f"{path} is no inventory of models: {type(error).__name__}",
            "Operator and image must be from the same release.",
        ) from error


def _parts(objects: Mapping[str, Listed]) -> Mapping[str, Mapping[str, Listed]]:
    """The objects of each model, by NAMESPACE/NAME/UID. What lies elsewhere is not ours."""
    parts: dict[str, dict[str, Listed]] = defaultdict(dict)
    for name, item in objects.items():
        *levels, rest = name.split("/", _LEVELS)
        if len(levels) == _LEVELS:
            parts["/".join(levels)][rest] = item
    return parts


def _mark(objects: Objects, part: str, retained: bool, marked: bool) -> None:
    """Bring the mark up to date while the model is there to say so."""
    if retained and not marked:
        objects.put(f"{part}/{RETAIN}", b"")
    elif marked and not retained:
        objects.delete(f"{part}/{RETAIN}")
