"""manifest.json beside the variants: what they are made of, how, with which tools, and the digest of every file.

It holds no time and no path outside of its folder, so that equal variants have equal manifests. verify.py reads it.
"""

import dataclasses
import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any

from onnxmodel_runtime.contract.codec import ContractError, load
from onnxmodel_runtime.contract.identity import recipe_of
from onnxmodel_runtime.contract.optimize import ORIGINAL, OptimizeRequest, OptimizeResult, Variant
from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.contract.volume import (
    CALIBRATION_FILE,
    CALIBRATION_FOLDER,
    GOLDEN_FILE,
    GOLDEN_FOLDER,
    MANIFEST_FILE,
    PROBE_FILE,
)
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.models.records import source_uri
from onnxmodel_runtime.stages.verify import verify

SCHEMA = 1
_TOOLS = ("onnx", "onnxruntime", "onnxruntime-gpu", "onnxslim", "sympy", "numpy", "protobuf", "ml_dtypes")


def write(request: OptimizeRequest, result: OptimizeResult) -> None:
    """Write the manifest of an optimize result atomically."""
    directory = Path(request.directory)
    files = [Path(result.probe)]
    for variant in result.variants[1:]:
        files += sorted(Path(variant.path).parent.iterdir()) if variant.path else []
    told = {
        **_made_of(request),
        "files": {
            str(file.relative_to(directory)): {"sha256": digest(file), "bytes": file.stat().st_size} for file in files
        },
        "provider": dataclasses.asdict(result.provider),
        "batch": result.batch,
        "unbatched": result.unbatched,
        "variants": [_variant(variant, directory) for variant in result.variants],
        "lowered": result.lowered,
        "made_inputs": result.made_inputs,
    }
    partial = directory / f"{MANIFEST_FILE}.tmp-{os.uname().nodename}-{os.getpid()}"  # two pods have equal pids
    partial.write_text(json.dumps(told, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(directory / MANIFEST_FILE)


def made(request: OptimizeRequest) -> OptimizeResult | None:
    """Return what an earlier run made of the same input in the request's directory. None if that is incomplete."""
    directory = Path(request.directory)
    try:
        told = json.loads((directory / MANIFEST_FILE).read_text(encoding="utf-8"))
        same = all(told.get(key) == value for key, value in json.loads(json.dumps(_made_of(request))).items())
        if not same or verify(directory)[1]:
            return None
        variants = tuple(load(Variant, item) for item in told["variants"])
        use = load(ProviderUse, told["provider"])
        batch = {key: str(told[key]) for key in ("batch", "unbatched")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ContractError):
        return None
    paths = {item.name: request.model if item.name == ORIGINAL else str(directory / item.path) for item in variants}
    placed = tuple(dataclasses.replace(v, path="" if v.skipped else paths[v.name]) for v in variants)
    lowered, made_inputs = str(told.get("lowered", "")), bool(told.get("made_inputs", False))
    return OptimizeResult(placed, str(directory / PROBE_FILE), use, lowered, made_inputs=made_inputs, **batch)


def variant(path: Path, sha256: str) -> tuple[Variant, str] | None:
    """Return the variant of a file and the facts of its batch axis, by the manifest above its folder, or None."""
    try:
        told = json.loads((path.parent.parent / MANIFEST_FILE).read_text(encoding="utf-8"))
        found = (load(Variant, item) for item in told["variants"])
        named = next((each for each in found if each.name == path.parent.name and each.sha256 == sha256), None)
        return (named, str(told["batch"])) if named else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ContractError):
        return None


def _made_of(request: OptimizeRequest) -> dict[str, Any]:
    """Return everything that determines the bytes of the variants."""
    return {
        "schema": SCHEMA,
        "source": {
            "sha256": request.sha256,
            "data_sha256": request.data_sha256,
            "uri": source_uri(Path(request.model).parent),
        },
        "signer": request.signer,
        "data": _data(request),
        "recipe": recipe_of(request),
        "tools": {name: version for name in _TOOLS if (version := _version(name))},
    }


def _variant(variant: Variant, directory: Path) -> dict[str, Any]:
    """As the report has it. The original lies elsewhere: its digest says which it is."""
    told = dataclasses.asdict(variant)
    path = Path(variant.path)
    told["path"] = str(path.relative_to(directory)) if path.is_relative_to(directory) else ""
    return told


def _data(request: OptimizeRequest) -> dict[str, str]:
    """The digests of what variants were calibrated with and proven on, beside the model itself."""
    places = [(Path(request.model).parent, name) for name in (GOLDEN_FILE, GOLDEN_FOLDER) if request.golden]
    if request.calibration_data:
        places += [(Path(request.calibration_data), name) for name in (CALIBRATION_FILE, CALIBRATION_FOLDER)]
    found = {
        file.relative_to(folder).as_posix(): digest(file)
        for folder, name in places
        for file in (folder / name, *(folder / name).rglob("*"))
        if file.is_file()
    }
    return dict(sorted(found.items()))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
