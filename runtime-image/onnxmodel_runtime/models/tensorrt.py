"""Options of TensorRT beyond the author's: profiles from the model's shapes, and caches of what it builds.

Without a profile it builds an engine for the first shape that it sees and again for each that does not fit, while some
client waits for minutes. The author's own options win.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime as ort

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.machine import accelerator
from onnxmodel_runtime.models.session import PROVIDERS

NAME = "TensorRT"
_PROFILES = ("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes")
_SEPARATORS = frozenset(",:")  # of a profile's entries: an input whose name has one cannot be told


def tuned(
    providers: Providers, path: Path, sha256: str, *, most: int, preferred: Sequence[int] = (), cache: str = ""
) -> Providers:
    """The providers with TensorRT's options filled in, where it is one of them.

    sha256: of the model and its weights; most: the largest batch; preferred: those that are formed on purpose; cache: a
    folder for engines, "" for none.
    """
    if NAME not in providers.names or PROVIDERS[NAME] not in ort.get_available_providers():
        return providers
    given = providers.options.get(NAME, {})
    wanted = options(given, _inputs(path), most=most, preferred=preferred)
    if cache:
        versions = {"onnxruntime": ort.__version__, "gpu": accelerator()}
        folder = Path(cache) / cache_key(sha256, wanted, versions)
        folder.mkdir(parents=True, exist_ok=True)
        wanted = caches(wanted, str(folder))
    return dataclasses.replace(providers, options={**providers.options, NAME: wanted})


def options(
    given: Mapping[str, str], inputs: Sequence[Tensor], *, most: int, preferred: Sequence[int] = ()
) -> dict[str, str]:
    """The author's options, with profiles unless there are some. The best shape is the largest preferred batch, or `most`."""
    if any(name in given for name in _PROFILES):
        return dict(given)
    best = max((size for size in preferred if size <= most), default=most)
    shapes = [profile(inputs, rows) for rows in (1, best, most)]
    return {**(dict(zip(_PROFILES, shapes, strict=True)) if all(shapes) else {}), **given}


def profile(inputs: Sequence[Tensor], rows: int) -> str:
    """Every input with a dynamic axis at so many rows: "x:8x3x224x224,mask:8x512".

    "" where nothing is dynamic, or where more than the batch is: nobody has said then how long that axis may be.
    """
    dynamic = [tensor for tensor in inputs if -1 in tensor.shape]
    if any(-1 in tensor.shape[1:] or _SEPARATORS & set(tensor.name) for tensor in dynamic):
        return ""
    return ",".join(f"{tensor.name}:{'x'.join(map(str, (rows, *tensor.shape[1:])))}" for tensor in dynamic)


def caches(given: Mapping[str, str], folder: str) -> dict[str, str]:
    """Engines and timings are kept in the folder, where the author says nothing else."""
    kept = {f"trt_{what}_cache_{key}": value for what in ("engine", "timing") for key, value in _cache(folder)}
    return {**kept, **given}


def cache_key(sha256: str, wanted: Mapping[str, str], versions: Mapping[str, str]) -> str:
    """Return a folder's name for everything that an engine depends on: one built from anything else is not loaded."""
    text = json.dumps([sha256, dict(wanted), dict(versions)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _cache(folder: str) -> tuple[tuple[str, str], ...]:
    return (("enable", "1"), ("path", folder))


def _inputs(path: Path) -> list[Tensor]:
    """The model's inputs. Its weights are let go before a session reads them: never are there two copies."""
    import onnx  # which a server without TensorRT does not wait for

    from onnxmodel_runtime.models import graph

    model = onnx.load_model(path, load_external_data=False)
    return [graph.describe(value) for value in graph.inputs(model)]
