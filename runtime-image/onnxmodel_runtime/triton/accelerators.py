"""Execution providers as Triton's ONNX Runtime backend names them. It accepts these keys and no others. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxmodel_runtime.contract.providers import GPU_PROVIDERS, Providers
from onnxmodel_runtime.errors import StageError

# What the backend has. Not the contract's PROVIDERS: one that is added there for our own server would run on the CPU here.
_BACKEND = ("TensorRT", "CUDA", "OpenVINO", "CPU")
_OPTIONS = "spec.serving.providerOptions"

# ONNX Runtime's option -> the backend's key.
_TENSORRT = {
    "trt_max_workspace_size": "max_workspace_size_bytes",
    "trt_int8_calibration_table_name": "int8_calibration_table_name",
    "trt_int8_use_native_calibration_table": "int8_use_native_calibration_table",
    **{
        f"trt_{key}": f"trt_{key}"
        for key in (
            *("max_partition_iterations", "min_subgraph_size", "dla_enable", "dla_core", "engine_cache_prefix"),
            *("dump_subgraphs", "force_sequential_engine_build", "context_memory_sharing_enable"),
            *("layer_norm_fp32_fallback", "force_timing_cache", "detailed_build_log", "build_heuristics_enable"),
            *("sparsity_enable", "builder_optimization_level", "auxiliary_streams", "tactic_sources"),
            *("extra_plugin_lib_paths", "profile_min_shapes", "profile_max_shapes", "profile_opt_shapes"),
            *("cuda_graph_enable", "dump_ep_context_model", "ep_context_file_path", "ep_context_embed_mode"),
        )
    },
}
_TENSORRT_FLAGS = {
    *(
        "trt_int8_use_native_calibration_table",
        "trt_dla_enable",
        "trt_dump_subgraphs",
        "trt_force_sequential_engine_build",
    ),
    *("trt_context_memory_sharing_enable", "trt_layer_norm_fp32_fallback", "trt_force_timing_cache"),
    *("trt_detailed_build_log", "trt_build_heuristics_enable", "trt_sparsity_enable", "trt_cuda_graph_enable"),
    "trt_dump_ep_context_model",
}
PROFILES = ("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes")
_PRECISIONS = {"trt_fp16_enable": "FP16", "trt_bf16_enable": "BF16", "trt_int8_enable": "INT8"}
_TENSORRT_OWN = ("device_id", "user_compute_stream", "trt_engine_cache_path", "trt_timing_cache_path")
_CACHES = ("trt_engine_cache_enable", "trt_timing_cache_enable")
# Where the configuration has any top-level parameter, and ours always has, the backend takes these four from there alone,
# in a spelling of its own, and puts its defaults in the place of what the accelerator says.
_CUDA_TOP_LEVEL: Mapping[str, Mapping[str, str]] = {
    "cudnn_conv_algo_search": {"EXHAUSTIVE": "0", "HEURISTIC": "1", "DEFAULT": "2"},
    "arena_extend_strategy": {"kNextPowerOfTwo": "0", "kSameAsRequested": "1"},
    "gpu_mem_limit": {},
    "do_copy_in_default_stream": {},
}
_CUDA_FLAGS = {"do_copy_in_default_stream", "use_ep_level_unified_stream"}
_CUDA_OWN = ("device_id", "user_compute_stream", "has_user_compute_stream")
_TRUTH = {"1": "1", "true": "1", "0": "0", "false": "0"}


@dataclass(frozen=True, slots=True)
class Accelerators:
    """gpu and cpu: (name, keys), in the backend's order. parameters: of the configuration itself.

    precision, cached: of TensorRT's engines; "" without TensorRT.
    """

    on_gpu: bool
    gpu: tuple[tuple[str, dict[str, str]], ...] = ()
    cpu: tuple[str, ...] = ()
    parameters: dict[str, str] = field(default_factory=dict)
    precision: str = ""
    cached: bool = False


def accelerators(providers: Providers) -> Accelerators:
    """Return the providers as the backend takes them. Raises StageError for options that it lacks."""
    for name in providers.names:
        if name not in _BACKEND:
            raise StageError(
                "ProviderUnknown",
                f"Triton's ONNX Runtime backend has no execution provider {name!r}",
                f"Use {', '.join(_BACKEND)}, or the runtime onnxruntime.",
                "spec.serving.executionProviders",
            )
    # The CPU runs every node that there is: a provider after it gets none.
    names = providers.names[: providers.names.index("CPU")] if "CPU" in providers.names else providers.names
    if names[:2] == ("CUDA", "TensorRT"):
        raise StageError(
            "ProviderOrder",
            "Triton always tries TensorRT before CUDA, but CUDA comes before TensorRT in the list",
            "Remove TensorRT, put it first, or use the runtime onnxruntime.",
            "spec.serving.executionProviders",
        )
    on_gpu = bool(names) and names[0] in GPU_PROVIDERS
    _refuse_options(providers, "CPU", "OpenVINO")
    cpu = ("openvino",) if "OpenVINO" in names else ()
    if not on_gpu:
        return Accelerators(on_gpu=False, cpu=cpu)
    gpu: list[tuple[str, dict[str, str]]] = []
    precision, cached = "", False
    if "TensorRT" in names:
        options = providers.options.get("TensorRT", {})
        keys = _tensorrt(options)
        precision, cached = (
            keys["precision_mode"],
            all(_flag("TensorRT", key, options.get(key, "1")) == "1" for key in _CACHES),
        )
        gpu.append(("tensorrt", keys))
    keys, parameters = _cuda(providers.options.get("CUDA", {}))
    if keys:
        gpu.append(("cuda", keys))
    return Accelerators(True, tuple(gpu), cpu, parameters, precision, cached)


def _tensorrt(options: Mapping[str, str]) -> dict[str, str]:
    """Never empty: an accelerator without keys is not told which GPU is its own."""
    on = [mode for key, mode in _PRECISIONS.items() if _flag("TensorRT", key, options.get(key, "0")) == "1"]
    if len(on) > 1:
        raise _refused("TensorRT", " and ".join(on), "cannot both be set: Triton supports one precision")
    keys = {"precision_mode": on[0] if on else "FP32"}
    for key, value in options.items():
        if key in _PRECISIONS or key in _CACHES:
            continue
        if key in _TENSORRT_OWN:
            raise _refused(
                "TensorRT", key, "must not be set by the model: the server has its own GPU and its own cache"
            )
        if key not in _TENSORRT:
            raise _refused("TensorRT", key, "is not supported by Triton's backend")
        keys[_TENSORRT[key]] = _flag("TensorRT", key, value) if key in _TENSORRT_FLAGS else value
    if 0 < sum(key in keys for key in PROFILES) < len(PROFILES):
        raise _refused("TensorRT", PROFILES[0], f"needs the other two: {', '.join(PROFILES[1:])}")
    return keys


def _cuda(options: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(the accelerator's keys, top-level parameters)."""
    keys: dict[str, str] = {}
    parameters: dict[str, str] = {}
    for key, value in options.items():
        if key in _CUDA_OWN:
            raise _refused("CUDA", key, "must not be set by the model: each instance has a GPU from its group")
        value = _flag("CUDA", key, value) if key in _CUDA_FLAGS else value
        if key not in _CUDA_TOP_LEVEL:
            keys[key] = value
            continue
        spelling = _CUDA_TOP_LEVEL[key]
        if spelling and value not in spelling:
            raise _refused("CUDA", key, f"does not support the value {value!r}, only {', '.join(spelling)}")
        parameters[key] = spelling.get(value, value)
    return keys, parameters


def _flag(provider: str, key: str, value: str) -> str:
    if value.lower() not in _TRUTH:
        raise _refused(provider, key, f"must be true or false, not {value!r}")
    return _TRUTH[value.lower()]


def _refuse_options(providers: Providers, *names: str) -> None:
    for name in names:
        if options := providers.options.get(name):
            raise _refused(name, min(options), "is not read by Triton's backend, which has no options of this provider")


def _refused(provider: str, option: str, why: str) -> StageError:
    return StageError(
        "OptionUnsupported",
        f"{provider}: {option} {why}",
        "Change or remove the option, or use the runtime onnxruntime, which passes options to ONNX Runtime unchanged.",
        f"{_OPTIONS}.{provider}",
    )
