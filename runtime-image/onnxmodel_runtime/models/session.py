"""ONNX Runtime sessions with exactly the execution providers that were asked for.

The benchmark and the server build their sessions here, so that what was measured is what serves.
"""

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from onnxmodel_runtime.contract.providers import GPU_PROVIDERS, Providers, ProviderUse
from onnxmodel_runtime.errors import StageError, clip, runtime_words

PROVIDERS = {
    "TensorRT": "TensorrtExecutionProvider",
    "CUDA": "CUDAExecutionProvider",
    "OpenVINO": "OpenVINOExecutionProvider",
    "CPU": "CPUExecutionProvider",
}
_NAMES = {runtime: name for name, runtime in PROVIDERS.items()}
GRAPH_LEVELS = {
    "None": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "Basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "Extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "All": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_NOT_THERE = {
    "Please install TensorRT libraries": frozenset({"TensorRT"}),
    "no CUDA-capable device": GPU_PROVIDERS,
    "CUDA driver version is insufficient": GPU_PROVIDERS,
}  # words of an error -> the providers that cannot be loaded
_FIELD = "spec.serving.executionProviders"
_ERRORS_ONLY = 3


@dataclass(frozen=True)
class Loaded:
    """A session and the provider that really runs it."""

    session: ort.InferenceSession
    use: ProviderUse


def open_session(
    path: Path,
    providers: Providers,
    graph_level: str = "All",
    *,
    save_to: Path | None = None,
    external_data: bool = False,
    profile_to: Path | None = None,
) -> Loaded:
    """Load a model. Raises StageError when the providers are not there; ONNX Runtime's own exceptions otherwise.

    save_to: also write the optimized graph there; external_data: with its weights in a file beside it.
    profile_to: write a profile of every run to a file whose path begins so; session.end_profiling() returns its path.
    """
    names = _available(providers)
    options = _options(providers, graph_level)
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
    if save_to is not None and external_data:
        entries = {"file_name": f"{save_to.name}.data", "min_size_in_bytes": "1024"}
        for key, value in entries.items():
            options.add_session_config_entry(f"session.optimized_model_external_initializers_{key}", value)
    if profile_to is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile_to)
    if "CPU" not in names:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    while True:
        wanted: list[Any] = [(PROVIDERS[name], provider_options(name, providers)) for name in names]
        try:
            session = _create(path, options, wanted)
        except Exception as error:
            if "assigned to the default CPU EP" in str(error):
                raise _left_to_the_cpu(path, providers, graph_level, wanted, names[0]) from error
            left = [name for name in names if name not in _missing(error)]
            if left == names:
                raise
            if not left or (providers.fallback == "Forbid" and left[0] != providers.names[0]):
                raise _unavailable(providers, f"ONNX Runtime reports: {clip(runtime_words(error), 300)}") from error
            names = left
            continue
        return Loaded(session, _use(session, providers, names))


def _missing(error: Exception) -> frozenset[str]:
    """Providers without which ONNX Runtime would not have failed so; what else it lacks it drops with a line in the log."""
    text = str(error)
    return next((names for part, names in _NOT_THERE.items() if part in text), frozenset())


def provider_options(name: str, providers: Providers) -> dict[str, str]:
    """Return a provider's options: the author's, and for OpenVINO, which has threads of its own, their number."""
    given = providers.options.get(name, {})
    if name == "OpenVINO" and providers.threads and "load_config" not in given:
        return {"num_of_threads": str(providers.threads), **given}
    return given


def _options(providers: Providers, graph_level: str) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.graph_optimization_level = GRAPH_LEVELS[graph_level]
    options.intra_op_num_threads = providers.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # After a run its threads would spin: they burn CPU that the container is limited in and others need (docs/serving.md).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _create(path: Path, options: ort.SessionOptions, wanted: list[Any]) -> ort.InferenceSession:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX Runtime warns of a missing provider; below it is an error that says more
        # enable_fallback=0: without it the Python class prints a line and goes on with the CPU when a provider fails.
        return ort.InferenceSession(str(path), options, providers=wanted, enable_fallback=0)


def _available(providers: Providers) -> list[str]:
    for name in providers.names:
        if name not in PROVIDERS:
            known = ", ".join(PROVIDERS)
            raise StageError("ProviderUnknown", f"there is no execution provider {name!r}", f"Use {known}.", _FIELD)
    build = [_NAMES[name] for name in ort.get_available_providers() if name in _NAMES]
    names = [name for name in providers.names if name in build]
    if not names or (providers.fallback == "Forbid" and names[0] != providers.names[0]):
        raise _unavailable(providers, f"the installed ONNX Runtime has {', '.join(build)}")
    return names


def _use(session: ort.InferenceSession, providers: Providers, names: list[str]) -> ProviderUse:
    loaded = set(session.get_providers())
    present = [name for name in names if PROVIDERS[name] in loaded]
    # A provider whose libraries do not load is dropped with a line in the log and nothing else.
    if not present or (providers.fallback == "Forbid" and present[0] != providers.names[0]):
        kept = ", ".join(provider_name(name) for name in session.get_providers())
        raise _unavailable(providers, f"ONNX Runtime dropped it when it loaded the model, and kept {kept}")
    nodes = count_nodes(session)
    total = sum(nodes.values())
    # Graphs that fold to constants have no node left: then all of nothing runs where it should.
    share = 100.0 * nodes.get(present[0], 0) / total if total else 100.0
    if share == 0 and providers.fallback == "Forbid":
        raise StageError(
            "ProviderUnused",
            f"{present[0]} loads, but runs none of the model's {total} nodes",
            "Put the provider that runs the model first, or export the model with operators that this one supports.",
            _FIELD,
        )
    return ProviderUse(present[0], round(share, 1), nodes)


def count_nodes(session: ort.InferenceSession) -> dict[str, int]:
    """Count the nodes of each provider, as ONNX Runtime assigned them."""
    counts: Counter[str] = Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        counts[provider_name(subgraph.ep_name)] += len(subgraph.get_nodes())
    return dict(sorted(counts.items()))


def provider_name(runtime: str) -> str:
    """Return this project's name of a provider: "CPU" for ONNX Runtime's CPUExecutionProvider."""
    return _NAMES.get(runtime, runtime)


def _unavailable(providers: Providers, what: str) -> StageError:
    return StageError(
        "ProviderUnavailable",
        f"the execution provider {providers.names[0]} cannot be loaded: {what}",
        "Use a node pool and an image that support it (the GPU image for CUDA and TensorRT), change the "
        "order of the providers, or set spec.serving.fallback to Allow.",
        _FIELD,
    )


def _left_to_the_cpu(path: Path, providers: Providers, level: str, wanted: list[Any], first: str) -> StageError:
    """Name the nodes that no listed provider runs; for that the model is loaded once more with the CPU allowed."""
    session = _create(path, _options(providers, level), wanted)
    left = [
        f"{node.name or '(unnamed)'} ({node.op_type})"
        for subgraph in session.get_provider_graph_assignment_info()
        if subgraph.ep_name == PROVIDERS["CPU"]
        for node in subgraph.get_nodes()
    ]
    return StageError(
        "ProviderIncomplete",
        clip(f"{first} does not support {len(left)} nodes, and CPU is not in the list: {', '.join(left[:5])}", 500),
        "Add CPU at the end of the providers, so that it runs these nodes, or export the model without them.",
        _FIELD,
    )
