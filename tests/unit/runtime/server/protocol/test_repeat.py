"""What was worked out once must be what would be worked out again."""

import json
from typing import Any

import numpy as np
import pytest
from google.protobuf.internal import encoder  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.server.errors import ServerError
from onnxmodel_runtime.server.protocol import grpc, repeat, rest
from onnxmodel_runtime.server.protocol.request import InferRequest, ModelSpec

SPEC = ModelSpec(
    "pair",
    (Tensor("x", "FP32", (-1, 3)), Tensor("n", "INT64", (-1, -1))),
    (Tensor("y", "FP32", (-1, 3)), Tensor("m", "BOOL", (-1,))),
    8,
)


def outputs(request: InferRequest) -> dict[str, Any]:
    x = request.inputs["x"]
    made = {"y": x + 1, "m": x[:, 0] > 0}
    return {name: made[name] for name in request.outputs}


def same(found: InferRequest, wanted: InferRequest) -> None:
    for name, array in wanted.inputs.items():
        np.testing.assert_array_equal(found.inputs[name], array, strict=True)
    assert list(found.inputs) == list(wanted.inputs)
    for field in ("id", "outputs", "rows", "timeout"):
        assert getattr(found, field) == getattr(wanted, field)


def body(document: dict[str, Any], arrays: list[Any]) -> tuple[bytes, int]:
    head = json.dumps(document, separators=(",", ":")).encode()
    return head + b"".join(array.tobytes() for array in arrays), len(head)


documents = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["1", "a-b.c:d", "7f3", "ü", 'a"b', "x" * 65, ""]),
        "parameters": st.sampled_from([{}, {"timeout": 5}, {"binary_data_output": True}, {"id": "9"}]),
        "outputs": st.sampled_from(
            [
                [{"name": "y", "parameters": {"binary_data": True}}],
                [
                    {"name": "m", "parameters": {"binary_data": True}},
                    {"name": "y", "parameters": {"binary_data": True}},
                ],
                [{"name": "y", "parameters": {"binary_data": True}}, {"name": "m"}],
                [{"name": "y"}],
            ]
        ),
    },
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(documents, st.integers(1, 3), st.booleans(), st.integers(0, 99)), min_size=1, max_size=12))
def test_rest(requests: list[tuple[dict[str, Any], int, bool, int]]) -> None:
    memory = repeat.Rest(SPEC)
    for document, rows, swapped, seed in requests * 2:
        random = np.random.default_rng(seed)
        arrays: dict[str, Any] = {
            "x": random.standard_normal((rows, 3)).astype(np.float32),
            "n": random.integers(0, 9, (rows, 2)),
        }
        names = ["n", "x"] if swapped else ["x", "n"]
        items = [
            {
                "name": name,
                "shape": list(arrays[name].shape),
                "datatype": "FP32" if name == "x" else "INT64",
                "parameters": {"binary_data_size": arrays[name].nbytes},
            }
            for name in names
        ]
        data, length = body({**document, "inputs": items}, [arrays[name] for name in names])
        wanted = rest.decode(SPEC, data, length)
        found, encode = memory.decode(data, length)
        same(found, wanted.request)
        made = outputs(wanted.request)
        assert encode(made) == rest.encode(SPEC, wanted, made)


def good(**more: Any) -> tuple[dict[str, Any], list[Any]]:
    arrays = [np.ones((1, 3), np.float32), np.ones((1, 2), np.int64)]
    items = [
        {"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}},
        {"name": "n", "shape": [1, 2], "datatype": "INT64", "parameters": {"binary_data_size": 16}},
    ]
    return {**more, "inputs": items, "parameters": {"binary_data_output": True}}, arrays


def test_a_known_head_with_other_lengths_behind_it() -> None:
    memory = repeat.Rest(SPEC)
    data, length = body(*good(id="1"))
    memory.decode(data, length)
    for wrong in (data + b"x", data[:-1], data[:length]):
        with pytest.raises(ServerError):
            memory.decode(wrong, length)


def test_an_id_is_never_remembered() -> None:
    """Wherever it stands, however it is written, and however often."""
    memory = repeat.Rest(SPEC)
    document, arrays = good()
    text = json.dumps(document, separators=(",", ":"))
    for number in range(3):
        for pattern in ('{%s,"id":"%d"}', '{"\\u0069d":"%d",%s}', '{"id" : "%d",%s}', '{"id":"9",%s,"id":"%d"}'):
            values = (number, text[1:-1]) if pattern.index("%d") < pattern.index("%s") else (text[1:-1], number)
            head = (pattern % values).encode()
            data = head + b"".join(array.tobytes() for array in arrays)
            assert memory.decode(data, len(head))[0].id == str(number)


def test_a_scalar_with_an_axis_is_not_remembered() -> None:
    """Triton's clients send [1]; the model takes []."""
    spec = ModelSpec("m", (Tensor("x", "FP32", ()),), (Tensor("y", "FP32", ()),))
    both = repeat.Rest(spec)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "parameters": {"binary_data_size": 4}}
    for _ in range(2):
        found, _ = both.decode(*body({"inputs": [tensor]}, [np.ones((1, 1), np.float32)]))
        assert found.inputs["x"].shape == ()
    wrong = {**tensor, "shape": [2], "parameters": {"binary_data_size": 8}}
    with pytest.raises(ServerError, match=r"Expected \[\], got \[2\]"):
        both.decode(*body({"inputs": [wrong]}, [np.ones(2, np.float32)]))


def test_memory_is_bounded() -> None:
    memory = repeat.Rest(SPEC)
    for number in range(3 * repeat.MAX_HEADS):
        data, length = body(*good(other="x" * number))
        memory.decode(data, length)
    memory.decode(*body(*good(other="x" * repeat.MAX_HEAD)))
    assert len(memory._plans) == repeat.MAX_HEADS


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "1", "ü", "x" * 300]),
            st.integers(1, 3),
            st.sampled_from([(), ("y",), ("m", "y")]),
            st.sampled_from([0, 7]),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_grpc(requests: list[tuple[str, int, tuple[str, ...], int, bool]]) -> None:
    memory = repeat.Grpc(SPEC)
    for at, (name, rows, wanted_outputs, timeout, typed) in enumerate(requests * 2):
        message = service_pb2.ModelInferRequest(model_name="pair", id=name)
        if timeout:
            message.parameters["timeout"].int64_param = timeout
        x, n = np.full((rows, 3), at, np.float32), np.full((rows, 2), at)
        message.inputs.add(name="n", datatype="INT64", shape=n.shape)
        message.inputs.add(name="x", datatype="FP32", shape=x.shape)
        if typed:
            message.inputs[0].contents.int64_contents.extend(n.ravel().tolist())
            message.inputs[1].contents.fp32_contents.extend(x.ravel().tolist())
        else:
            message.raw_input_contents.extend([n.tobytes(), x.tobytes()])
        for output in wanted_outputs:
            message.outputs.add(name=output)
        wanted = grpc.decode(SPEC, message)
        made = outputs(wanted)
        answer = grpc.encode(SPEC, wanted, made).SerializeToString()
        found, encode = memory.decode(message)
        same(found, wanted)
        assert encode(made) == answer


def test_known_messages_with_other_blobs() -> None:
    memory = repeat.Grpc(SPEC)
    for blobs in ([bytes(12), bytes(16)], [bytes(16), bytes(12)], [bytes(12)], [bytes(12), bytes(16), b""], []):
        message = service_pb2.ModelInferRequest(model_name="pair", raw_input_contents=blobs)
        message.inputs.add(name="x", datatype="FP32", shape=[1, 3])
        message.inputs.add(name="n", datatype="INT64", shape=[1, 2])
        if blobs == [bytes(12), bytes(16)]:
            memory.decode(message)
        else:
            with pytest.raises(ServerError):
                memory.decode(message)


def test_varints() -> None:
    for value in (0, 1, 127, 128, 300, 1 << 20, (1 << 31) - 1):
        assert repeat._varint(value) == encoder._VarintBytes(value)
