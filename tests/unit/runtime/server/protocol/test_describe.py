"""The model's configuration, as Triton's extension has it."""

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.rows import joining
from onnxmodel_runtime.server.protocol import describe, grpc
from onnxmodel_runtime.server.protocol.request import ModelSpec


def test_config_has_no_batch_axis_where_outputs_have_none() -> None:
    spec = ModelSpec("m", (Tensor("x", "FP32", (-1, 3)),), (Tensor("y", "BYTES", (2,)),), 0)
    asked = ServeRequest("m", "", "", max_queue_delay_microseconds=100, instances=2)
    config = describe.config(spec, ProviderUse("CUDA", 87.5), asked, joining.NO_BATCH)
    assert "dynamic_batching" not in config
    assert config["parameters"]["batching"] == {"string_value": "not joined: the model has no batch axis"}
    assert (config["max_batch_size"], config["input"][0]["dims"]) == (0, [-1, 3])
    assert config["output"] == [{"name": "y", "data_type": "TYPE_STRING", "dims": [2]}]
    assert config["parameters"]["execution_provider_share"] == {"string_value": "87.5"}
    assert grpc.model_config(config).config.instance_group[0].count == 2
