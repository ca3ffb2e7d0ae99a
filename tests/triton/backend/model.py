"""Triton's backend "onnxruntime" for the tests: ONNX Runtime below Triton's Python backend, as strict as the native one.

NVIDIA's image has the native backend, which no package index carries. What this one refuses, and in which words, follows
the native one's source (onnxruntime_backend/src/onnxruntime.cc): the shapes and datatypes of the configuration against
those of the model, the names of accelerators, and the keys of TensorRT's. It is stricter where the native one only warns
or ignores: a top-level parameter that it does not read, and keys of the CUDA provider that a top-level parameter replaces.

Instances are processes of their own. All of them run on the CPU; what GPUs would be given is checked and not used.

Triton's stub reads an array's item size where numpy 1 has it. Beside numpy 2, which is all that Python 3.13 has, tensors are
exchanged by DLPack, which has no strings and no booleans: a model that gives such is refused there.
"""

import ctypes
import json
import os
import sys

# Triton's interpreter knows no virtual environment: where numpy and ONNX Runtime are, the one who starts it says.
sys.path[:0] = [path for path in os.environ.get("ONNXMODEL_TRITON_PATH", "").split(os.pathsep) if path]

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

_TAKEN = ctypes.c_char_p(b"used_dltensor")
ctypes.pythonapi.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
_BY_DLPACK = int(np.__version__.partition(".")[0]) >= 2
_TENSORRT = {
    *("precision_mode", "max_workspace_size_bytes", "int8_calibration_table_name", "int8_use_native_calibration_table"),
    *("trt_max_partition_iterations", "trt_min_subgraph_size", "trt_dla_enable", "trt_dla_core"),
    *("trt_engine_cache_enable", "trt_engine_cache_path", "trt_engine_cache_prefix", "trt_dump_subgraphs"),
    *("trt_force_sequential_engine_build", "trt_context_memory_sharing_enable", "trt_layer_norm_fp32_fallback"),
    *("trt_timing_cache_enable", "trt_timing_cache_path", "trt_force_timing_cache", "trt_detailed_build_log"),
    *("trt_build_heuristics_enable", "trt_sparsity_enable", "trt_builder_optimization_level", "trt_auxiliary_streams"),
    *("trt_tactic_sources", "trt_extra_plugin_lib_paths", "trt_cuda_graph_enable"),
    *("trt_profile_min_shapes", "trt_profile_max_shapes", "trt_profile_opt_shapes"),
    *("trt_dump_ep_context_model", "trt_ep_context_file_path", "trt_ep_context_embed_mode"),
}
_PRECISIONS = ("FP32", "FP16", "BF16", "INT8")
# Where any top-level parameter is, the native backend takes these from there alone.
_CUDA_TOP_LEVEL = {"cudnn_conv_algo_search", "gpu_mem_limit", "arena_extend_strategy", "do_copy_in_default_stream"}
_CUDA_OWN = {"device_id", "user_compute_stream", "has_user_compute_stream"}
_INTEGERS = {
    *("intra_op_thread_count", "inter_op_thread_count", "execution_mode"),
    *("cudnn_conv_algo_search", "arena_extend_strategy", "gpu_mem_limit"),
}
_BOOLEANS = {"enable_mem_arena", "enable_mem_pattern", "do_copy_in_default_stream"}
_FOR_CLIENTS = {"batching", "revision"}  # read by nobody here
_TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(float16)": "TYPE_FP16",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
    "tensor(bool)": "TYPE_BOOL",
    **{f"tensor({sign}int{bits})": f"TYPE_{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


class TritonPythonModel:
    """One instance of one model."""

    def initialize(self, args):
        """Check the configuration, and load the model as it says."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        check_parameters(parameters)
        accelerators = config.get("optimization", {}).get("execution_accelerators", {})
        check_accelerators(accelerators, parameters)
        file = config.get("default_model_filename") or "model.onnx"
        path = os.path.join(args["model_repository"], args["model_version"], file)
        if not os.path.exists(path):
            refuse(f"unable to find '{path}' for model instance '{config['name']}'")
        try:
            self.session = ort.InferenceSession(path, options(config, parameters), providers=["CPUExecutionProvider"])
        except Exception as error:
            refuse(f"onnx runtime error: {error}")
        self.batches = config.get("max_batch_size", 0) > 0
        required = self.session.get_inputs()
        # The native one counts no optional input, and takes each that overrides an initializer.
        self.inputs = {item.name: item for item in (*required, *self.session.get_overridable_initializers())}
        self.outputs = {item.name: item for item in self.session.get_outputs()}
        expected = sum(not item.get("optional") for item in config["input"])
        if len(required) != expected:
            refuse(
                f"unable to load model '{config['name']}', configuration expects {expected} inputs, "
                f"model provides {len(required)}"
            )
        for item in config["input"]:
            check_tensor(config, item, self.inputs, "input")
        for item in config["output"]:
            check_tensor(config, item, self.outputs, "output")
        tensors = [("input", item) for item in config["input"]] + [("output", item) for item in config["output"]]
        for kind, item in tensors if _BY_DLPACK else ():
            if item["data_type"] == "TYPE_BOOL" or (kind, item["data_type"]) == ("output", "TYPE_STRING"):
                refuse(
                    f"{kind} '{item['name']}' cannot be exchanged by the test's backend beside numpy {np.__version__}"
                )

    def execute(self, requests):
        """One run for all requests where the model has a batch axis, else one for each."""
        if not self.batches or len(requests) == 1:
            return [self._answer([request])[0] for request in requests]
        return self._answer(requests)

    def _answer(self, requests):
        try:
            given = [{tensor.name(): self._given(tensor) for tensor in request.inputs()} for request in requests]
            joined = given[0]
            if len(given) > 1:
                joined = {name: np.concatenate([item[name] for item in given]) for name in given[0]}
            names = list(self.outputs)
            found = dict(zip(names, self.session.run(names, joined), strict=True))
        except Exception as error:
            text = pb_utils.TritonError(f"onnx runtime error: {error}")
            return [pb_utils.InferenceResponse(error=text) for _ in requests]
        responses, start = [], 0
        for request, inputs in zip(requests, given, strict=True):
            end = start + len(next(iter(inputs.values()))) if len(requests) > 1 else None
            wanted = request.requested_output_names()
            tensors = [given_back(name, found[name][start:end] if end else found[name]) for name in wanted]
            responses.append(pb_utils.InferenceResponse(tensors))
            start = end or 0
        return responses

    def _given(self, tensor):
        words = self.inputs[tensor.name()].type == "tensor(string)"
        array = np.from_dlpack(tensor) if _BY_DLPACK and not words else tensor.as_numpy()
        if words:
            decoded = [word.decode() if isinstance(word, bytes) else word for word in array.ravel()]
            array = np.array(decoded, dtype=object).reshape(array.shape)
        return array.reshape(()) if not self.inputs[tensor.name()].shape else array


def given_back(name, array):
    """An output as Triton takes it. A scalar is [1] there."""
    array = np.ascontiguousarray(array.reshape((1,)) if not array.shape else array)
    if not _BY_DLPACK:
        return pb_utils.Tensor(name, array)
    capsule = array.__dlpack__()
    tensor = pb_utils.Tensor.from_dlpack(name, capsule)
    # Triton calls a capsule that it took by another name than numpy's destructor knows, which then complains of it.
    ctypes.pythonapi.PyCapsule_SetName(capsule, _TAKEN)
    return tensor


def refuse(message):
    """Fail to load, with the native backend's words."""
    raise pb_utils.TritonModelException(message)


def options(config, parameters):
    """ONNX Runtime's session as the configuration asks for it."""
    made = ort.SessionOptions()
    made.log_severity_level = 3
    level = config.get("optimization", {}).get("graph", {}).get("level", 0)
    made.graph_optimization_level = _LEVELS.get(int(level), ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    made.intra_op_num_threads = int(parameters.get("intra_op_thread_count", "0"))
    made.inter_op_num_threads = int(parameters.get("inter_op_thread_count", "0"))
    if int(parameters.get("execution_mode", "0")):
        made.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    made.enable_cpu_mem_arena = truth(parameters.get("enable_mem_arena", "1"))
    made.enable_mem_pattern = truth(parameters.get("enable_mem_pattern", "1"))
    return made


def check_parameters(parameters):
    """Every key is one that the native backend reads, with a value that it can parse."""
    for key, value in parameters.items():
        if key in _INTEGERS:
            integer(key, value)
        elif key in _BOOLEANS:
            truth(value)
        elif key not in _FOR_CLIENTS and key != "session.use_device_allocator_for_initializers":
            refuse(f"unknown parameter '{key}' is provided")
    if parameters.get("execution_mode", "0") not in ("0", "1"):
        refuse("Invalid configuration value provided. Expected values for  execution_mode are 0 or 1")


def check_accelerators(accelerators, parameters):
    """Names and keys that the native backend accepts."""
    for item in accelerators.get("cpu_execution_accelerator", ()):
        if item["name"] != "openvino":
            refuse(f"unknown Execution Accelerator '{item['name']}' is requested")
        if item.get("parameters"):
            refuse("parameters of the OpenVINO Execution Accelerator are not read")
    for item in accelerators.get("gpu_execution_accelerator", ()):
        given = item.get("parameters", {})
        if item["name"] == "tensorrt":
            check_tensorrt(given)
        elif item["name"] == "cuda":
            if lost := (_CUDA_TOP_LEVEL & set(given) if parameters else set()) | (_CUDA_OWN & set(given)):
                refuse(
                    f"parameter '{min(lost)}' of the CUDA Execution Accelerator is replaced by the backend's own value"
                )
        else:
            refuse(f"unknown Execution Accelerator '{item['name']}' is requested")


def check_tensorrt(given):
    """The keys of the native backend's table; without any, it would not tell TensorRT which GPU to use."""
    if not given:
        refuse("the TensorRT Execution Accelerator has no parameters, so that no device is assigned to it")
    for key, value in given.items():
        if key not in _TENSORRT:
            refuse(f"unknown parameter '{key}' is provided for TensorRT Execution Accelerator")
        if key == "precision_mode" and value not in _PRECISIONS:
            refuse(f"unsupported precision mode '{value}' is requested")
        if key.endswith("_enable") or key == "int8_use_native_calibration_table":
            truth(value)
        if key in ("max_workspace_size_bytes", "trt_builder_optimization_level", "trt_min_subgraph_size"):
            integer(key, value)


def check_tensor(config, item, tensors, kind):
    """Name, datatype and shape are the model's. Outputs exactly; an input may be narrower than a dynamic axis."""
    name, model = item["name"], config["name"]
    if name not in tensors:
        allowed = ", ".join(sorted(tensors))
        refuse(f"unexpected inference {kind} '{name}', allowed {kind}s are: {allowed}")
    found = tensors[name]
    if _TYPES.get(found.type) != item["data_type"]:
        refuse(
            f"unable to load model '{model}', configuration expects datatype {item['data_type']} for {kind} '{name}', "
            f"model provides {_TYPES.get(found.type, found.type)}"
        )
    shape = [dim if isinstance(dim, int) else -1 for dim in found.shape]
    dims = [int(dim) for dim in (item["reshape"]["shape"] if item.get("reshape") else item["dims"])]
    batches = config.get("max_batch_size", 0) > 0
    if not shape and not batches:
        if any(dim != 1 for dim in dims):
            refuse(
                f"unable to load model '{model}', scalar tensor '{name}', should only provide 1 in the model configuration "
                f"when the model doesn't support batching. Model configuration provided: {text(dims)}."
            )
        return
    if batches and shape[:1] != [-1]:
        refuse(
            f"model '{model}', tensor '{name}': for the model to support batching the shape should have at least 1 dimension "
            f"and the first dimension must be -1; but shape expected by the model is {text(shape)}"
        )
    whole = [-1, *dims] if batches else dims
    exact = kind == "output"
    fits = len(whole) == len(shape) and all(
        one == other or (one == -1 and not exact) for one, other in zip(shape, whole, strict=True)
    )
    if not fits:
        refuse(
            f"model '{model}', tensor '{name}': the model expects {len(shape)} dimensions (shape {text(shape)}) but the "
            f"model configuration specifies {len(whole)} dimensions (shape {text(whole)})"
        )


def text(shape):
    """A shape in Triton's words."""
    return f"[{','.join(map(str, shape))}]"


def truth(value):
    """A boolean as the native backend reads it."""
    if value.lower() not in ("0", "1", "true", "false"):
        refuse(f"failed to convert '{value}' to boolean value")
    return value.lower() in ("1", "true")


def integer(key, value):
    """A number as the native backend reads it."""
    if not value.lstrip("-").isdigit():
        refuse(f"failed to convert {key} '{value}' to integral number")
    return int(value)
