"""The manifest and the settings of a run, from files of this machine."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from onnxmodel_operator import names
from onnxmodel_operator.api.manifest import KubernetesLoader, RepeatedKey, envelope_errors
from onnxmodel_operator.api.resource import OnnxModel, SpecError, parse
from onnxmodel_operator.platform import settings
from onnxmodel_operator.platform.settings import Settings, SettingsError
from onnxmodel_runtime.contract.providers import GPU_PROVIDERS

_IMAGES = {"runtimeCpu": "local", "runtimeGpu": "local", "triton": "local"}


def read_model(manifest: Path, name: str) -> OnnxModel:
    """Read the OnnxModel of a manifest, which may hold other objects too. Raises OSError, ValueError, SpecError."""
    documents = _documents(manifest)
    items = [item for item in documents if isinstance(item, dict) and item.get("kind") == names.KIND]
    for item in items:
        metadata = item.get("metadata")
        if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
            raise ValueError(
                f"{place(manifest)}: an {names.KIND} has no metadata.name, or one that is not a string; set it"
            )
    found = [item for item in items if name in ("", item["metadata"]["name"])]
    if len(found) != 1:
        known = ", ".join(item["metadata"]["name"] for item in items) or _others(documents)
        wanted = f"{names.KIND} {name!r}" if name else f"{names.KIND}{' (choose one with --name)' if items else ''}"
        raise ValueError(f"{place(manifest)} must contain one {wanted}; it contains {known}")
    if wrong := envelope_errors(found[0]):
        raise SpecError(wrong)
    metadata = {"namespace": "default", **found[0]["metadata"], "uid": "local", "generation": 1}
    spec = found[0].get("spec")
    if isinstance(spec, dict) and spec.get("suspend") is True:  # holds a cluster back, not a person who asks for a run
        spec = {**spec, "suspend": False}
    return parse({**found[0], "metadata": metadata, "spec": spec, "status": {}})


def place(path: Path) -> str:
    """Name a manifest in a message."""
    return "standard input" if str(path) == "-" else str(path)


def read_settings(path: Path, *, images: bool = False) -> Settings:
    """Read the platform's settings, or the chart's values with them. images: also those of the cluster, if they are there.

    Raises OSError, ValueError, SettingsError.
    """
    data = next(iter(_documents(path)), None)
    found = data.get("settings", data) if isinstance(data, dict) else data
    try:
        there = _images(data) if images else _IMAGES
        return settings.parse({**found, "images": there} if isinstance(found, dict) else found)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def _images(data: Any) -> dict[str, Any]:
    """The images as the chart gives them to the operator, from its values or from the settings."""
    if not isinstance(data, dict):
        return _IMAGES
    given = data.get("runtimeImages")
    if not isinstance(given, dict):
        own = data.get("images")
        return {**_IMAGES, **own} if isinstance(own, dict) else _IMAGES
    named = {"runtimeCpu": given.get("cpu"), "runtimeGpu": given.get("gpu"), **given}
    return {**_IMAGES, **{key: value for key, value in named.items() if value and key not in ("cpu", "gpu")}}


def this_machine(model: OnnxModel) -> Settings:
    """Return settings for this machine: one pool with whatever the model asks for. The providers check themselves."""
    wanted = model.spec.serving.execution_providers or ["CPU"]
    pool: dict[str, Any] = {"executionProviders": list(wanted)}
    if GPU_PROVIDERS & set(wanted):
        pool["gpuResource"] = "nvidia.com/gpu"
    name = model.spec.serving.node_pool or "default"
    return settings.parse(
        {
            "images": _IMAGES,
            "pools": {name: pool},
            "defaults": {"pool": name},
        }
    )


def _others(documents: Sequence[Any]) -> str:
    """Describe the content of a manifest that has no OnnxModel."""
    kinds = [str(item.get("kind") or "an object without a kind") for item in documents if isinstance(item, dict)]
    kinds += [
        "something that is not an object" for item in documents if item is not None and not isinstance(item, dict)
    ]
    return f"none, only {', '.join(dict.fromkeys(kinds))}" if kinds else "none"


def _documents(path: Path) -> list[Any]:
    """The documents of a YAML file; "-": of standard input. Raises ValueError that names the line."""
    where = place(path)
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        return list(yaml.load_all(text, KubernetesLoader))
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not UTF-8 text; is it a YAML file?") from error
    except RecursionError as error:
        raise ValueError(f"{where} is nested too deeply to be read") from error
    except RepeatedKey as error:
        raise ValueError(f"{where}, line {error.line}: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark, what = error.problem_mark or error.context_mark, " ".join((error.problem or error.context or "").split())
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{where}{at} is not valid YAML: {what}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from error
