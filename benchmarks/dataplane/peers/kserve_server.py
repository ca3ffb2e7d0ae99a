"""KServe's Python server with ONNX Runtime, as its documentation makes a custom model. In KServe's own environment."""

import sys
from typing import Any

import kserve
import onnxruntime as ort


class Model(kserve.Model):  # type: ignore[misc]  # KServe is in an environment of its own
    """A model of one input and one output."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.ready = True

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: D102
        result = self.session.run(["y"], {"x": payload.inputs[0].as_numpy()})[0]
        output = kserve.InferOutput("y", list(result.shape), "FP32")
        output.set_data_from_numpy(result, binary_data=True)
        wanted = payload.request_outputs
        return kserve.InferResponse(payload.id, self.name, [output], use_binary_outputs=True, requested_outputs=wanted)


if __name__ == "__main__":
    name, path, http, grpc = sys.argv[1:]
    server = kserve.ModelServer(http_port=int(http), grpc_port=int(grpc), workers=1, enable_docs_url=False)
    server.start([Model(name, path)])
