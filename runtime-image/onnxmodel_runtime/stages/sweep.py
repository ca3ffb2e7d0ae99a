"""Sweep: remove what deleted models left in the store of artifacts.

The inventory of models comes from a container that may ask the API server and has no key of the store; this one has the
keys and no access to the API server.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from onnxmodel_runtime.contract.store import SweepRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources.authorities import trusted
from onnxmodel_runtime.store.kinds import opened_store, take_store_credentials

_SECONDS = 60.0


def sweep(request: SweepRequest, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Remove the parts of models that are not in the inventory, and mark those of models that are retained."""
    take_store_credentials()
    retained = _inventory(Path(request.models))
    with trusted(), closing(opened_store(request.bucket, request.registry, _SECONDS, pause)) as store:
        store.sweep(retained, request.seconds)


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
