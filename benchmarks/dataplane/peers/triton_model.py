"""A Python-based backend `onnxruntime` for a real tritonserver: what NVIDIA's image has in C++."""

import json
import os
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as utils


class TritonPythonModel:
    """A model of one input and one output."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: D102
        folder = os.path.join(args["model_repository"], args["model_version"])
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = os.path.join(folder, "model.onnx")
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        assert json.loads(args["model_config"])["name"] == args["model_name"]

    def execute(self, requests: list[Any]) -> list[Any]:  # noqa: D102
        responses = []
        for request in requests:
            x = np.asarray(utils.get_input_tensor_by_name(request, "x").as_numpy())
            y = self.session.run(["y"], {"x": x})[0]
            responses.append(utils.InferenceResponse([utils.Tensor("y", y)]))
        return responses
