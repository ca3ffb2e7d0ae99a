"""The protocol's functions alone, against tritonclient's encoders and decoders."""

import contextlib
import json
import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton_http
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.grpc import InferResult, service_pb2

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.models.datatypes import BY_NAME
from onnxmodel_runtime.server.errors import MAX_MESSAGE, Code, ServerError
from onnxmodel_runtime.server.protocol import grpc, rest
from onnxmodel_runtime.server.protocol.request import ModelSpec, RawInput, build, from_buffer
from tests.unit.runtime.server_support import DATATYPES

Client = triton_http.InferenceServerClient


JSON_DATATYPES = tuple(name for name in DATATYPES if name != "FP16")


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def identity_spec(datatype: str, shape: tuple[int, ...] = (-1, -1)) -> ModelSpec:
    return ModelSpec("m", (Tensor("x", datatype, shape),), (Tensor("y", datatype, shape),), 8)


@st.composite
def tensors(draw: st.DrawFn, datatypes: tuple[str, ...] = DATATYPES) -> tuple[str, np.ndarray[Any, Any]]:
    datatype = draw(st.sampled_from(datatypes))
    shape = (draw(st.integers(1, 4)), draw(st.integers(0, 5)))
    if datatype == "BYTES":
        values = draw(st.lists(text, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
        array = np.empty(len(values), np.object_)
        array[:] = [value.encode() for value in values]
        return datatype, array.reshape(shape)
    return datatype, draw(hnp.arrays(np.dtype(BY_NAME[datatype].numpy), shape))


def same(got: Any, want: Any) -> None:
    assert got.shape == want.shape
    if want.dtype == np.object_:
        assert [v if isinstance(v, bytes) else v.encode() for v in got.flat] == list(want.flat)
    else:
        np.testing.assert_array_equal(got, want)


@settings(deadline=None, max_examples=120)
@given(tensor=tensors(), data=st.data(), padding=st.integers(0, 9))
def test_http_round_trip(tensor: Any, data: st.DataObject, padding: int) -> None:
    datatype, array = tensor
    binary_in = datatype == "FP16" or data.draw(st.booleans())
    binary_out = datatype == "FP16" or data.draw(st.booleans())
    value = triton_http.InferInput("x", list(array.shape), datatype)
    value.set_data_from_numpy(array, binary_data=binary_in)
    wanted = [triton_http.InferRequestedOutput("y", binary_data=binary_out)]
    # The id moves the tensor to other addresses, odd ones among them.
    body, length = Client.generate_request_body([value], outputs=wanted, request_id="i" * padding)
    spec = identity_spec(datatype)

    decoded = rest.decode(spec, body, length)
    assert decoded.request.inputs["x"].flags.aligned
    same(decoded.request.inputs["x"], array)
    assert decoded.request.rows == array.shape[0]

    answer, head = rest.encode(spec, decoded, {"y": decoded.request.inputs["x"]})
    assert (head is not None) == binary_out
    result = Client.parse_response_body(answer, header_length=head)
    same(result.as_numpy("y"), array)
    assert result.get_response().get("id", "") == "i" * padding


@settings(deadline=None, max_examples=80)
@given(tensor=tensors(), typed=st.booleans())
def test_grpc_round_trip(tensor: Any, typed: bool) -> None:
    datatype, array = tensor
    message = service_pb2.ModelInferRequest(model_name="m", id="7")
    value = message.inputs.add(name="x", datatype=datatype, shape=array.shape)
    if typed and datatype != "FP16":
        field = getattr(value.contents, grpc._CONTENTS[datatype])
        field.extend(array.ravel().tolist())
    else:
        raw = triton_http.InferInput("x", list(array.shape), datatype)
        message.raw_input_contents.append(raw.set_data_from_numpy(array)._get_binary_data())
    spec = identity_spec(datatype)
    request = grpc.decode(spec, message)
    same(request.inputs["x"], array)
    answer = grpc.encode(spec, request, {"y": request.inputs["x"]})
    assert answer.id == "7"
    same(InferResult(answer).as_numpy("y"), array)


@settings(deadline=None, max_examples=60)
@given(tensor=tensors(JSON_DATATYPES))
def test_nested_and_flat_data_are_the_same(tensor: Any) -> None:
    datatype, array = tensor
    values = np.vectorize(bytes.decode, otypes=[object])(array) if datatype == "BYTES" and array.size else array
    entry = {"name": "x", "shape": list(array.shape), "datatype": datatype, "data": values.tolist()}
    same(
        rest.decode(identity_spec(datatype), json.dumps({"inputs": [entry]}).encode(), None).request.inputs["x"], array
    )


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60), st.none() | st.integers(0, 60))
def test_any_bytes_are_answered_or_refused(body: bytes, length: int | None) -> None:
    for spec in (identity_spec("FP32"), identity_spec("BYTES", (-1, 1))):
        with contextlib.suppress(ServerError):
            rest.decode(spec, body, length if length is None or length <= len(body) else None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_json_is_answered_or_refused(data: st.DataObject) -> None:
    fields = {
        "name": st.just("x") | json_values,
        "datatype": st.sampled_from(DATATYPES) | json_values,
        "shape": st.just([1, 1]) | st.lists(st.integers(), max_size=3) | json_values,
        "data": st.lists(json_values, max_size=2) | json_values,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": json_values}) | json_values,
    }
    entry = data.draw(st.fixed_dictionaries({}, optional=fields))
    document = {
        "inputs": [entry],
        **data.draw(st.fixed_dictionaries({}, optional={"id": json_values, "outputs": json_values})),
    }
    body = json.dumps(document).encode()
    for length in (None, len(body)):
        with contextlib.suppress(ServerError):
            rest.decode(identity_spec(data.draw(st.sampled_from(DATATYPES))), body, length)


PAIR = ModelSpec(
    "pair",
    (Tensor("a", "FP32", (-1, 2)), Tensor("b", "INT64", (-1, -1))),
    (Tensor("y", "FP32", (-1, 2)), Tensor("z", "FP16", (-1, 2))),
    4,
)


def entry(name: str = "a", shape: Any = (1, 2), datatype: str = "FP32", data: Any = (1.0, 2.0), **more: Any) -> Any:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data, **more}


B = entry("b", [1, 1], "INT64", [1])


REFUSED: list[tuple[str, Any, str]] = [
    ("missing input", [entry()], "expected 2 inputs but got 1 inputs for model 'pair'. Got input(s) ['a'], but missing "
     "required input(s) ['b']. Please provide all required input(s)."),
    ("no input", [], "expected 2 inputs but got 0 inputs for model 'pair'. Got input(s) [], but missing"),
    ("duplicate input", [entry(), entry()], "input 'a' already exists in request"),
    ("unknown input", [entry(), entry("c")], "unexpected inference input 'c' for model 'pair'"),
    ("datatype", [entry(datatype="FP64"), B],
     "inference input 'a' data-type is 'FP64', but model 'pair' expects 'FP32'"),
    ("BF16", [entry(datatype="BF16"), B], "inference input 'a' data-type is 'BF16', but model 'pair' expects 'FP32'"),
    ("shape", [entry(shape=[1, 3], data=[1, 2, 3]), B],
     "unexpected shape for input 'a' for model 'pair'. Expected [-1,2], got [1,3]."),
    ("rank", [entry(shape=[1, 2, 1]), B], "unexpected shape for input 'a' for model 'pair'. Expected [-1,2], got [1,2,1]"),
    ("scalar", [entry(shape=[], data=[1]), B], "input 'a' has no shape but model requires batch dimension for 'pair'"),
    ("batch sizes", [entry(), entry("b", [2, 1], "INT64", [1, 2])], "input 'b' batch size does not match other inputs"),
    ("large batch", [entry(shape=[5, 2], data=[0] * 10), entry("b", [5, 1], "INT64", [0] * 5)],
     "inference request batch-size must be <= 4 for 'pair'"),
    ("negative", [entry(shape=[-1, 2]), B], "invalid shape for input 'a': shape [-1,2] contains one or more invalid"),
    ("overflow", [entry(), entry("b", [1, 1 << 63], "INT64", [])], "causes total element count to exceed maximum size"),
    ("product", [entry(), entry("b", [1 << 32, 1 << 32], "INT64", [])], "exceed maximum size of 9223372036854775807"),
    ("many dimensions", [entry(shape=[2] * 100_000), B], "invalid shape for input 'a': it has 100000 dimensions"),
    ("few elements", [entry(data=[1.0]), B],
     "input byte size mismatch for input 'a' for model 'pair'. Expected 8, got 4"),
    ("huge shape", [entry(), entry("b", [1, 1 << 40], "INT64", [1])], "input byte size mismatch for input 'b'"),
    ("huge size", [entry(), entry("b", [1, 1 << 61], "INT64", [1])], "byte size overflow for input 'b'"),
    ("text as number", [entry(data=["1", "2"]), B],
     "Unable to parse 'data' of input 'a': element 0 is a string, which FP32 cannot represent"),
    ("fraction as integer", [entry(), entry("b", [1, 1], "INT64", [1.5])],
     "'b': element 0 is a number with a fraction or an exponent, which INT64 cannot represent"),
    ("true as number", [entry(data=[True, False]), B], "element 0 is true or false, which FP32 cannot represent"),
    ("null", [entry(data=[None, 1]), B], "element 0 is null, which FP32 cannot represent"),
    ("out of range", [entry(), entry("b", [1, 1], "INT64", [1 << 63])],
     "element 0 of input 'b' is out of range: INT64 goes from -9223372036854775808 to 9223372036854775807"),
    ("beyond FP32", [entry(data=[1, 1e39]), B],
     "element 1 of input 'a' is out of range: FP32 goes from -3.4028235e+38 to 3.4028235e+38"),
    ("beyond any float", [entry(data=[-(10**400), 1]), B], "element 0 of input 'a' is out of range: FP32 goes from"),
    ("NaN as integer", [entry(), entry("b", [1, 1], "INT64", [math.nan])], "element 0 is NaN or infinite, which INT64"),
    ("half a character", [entry("a\ud800"), B], "unexpected inference input 'a\ud800' for model 'pair'"),
    ("one too many", [entry(), B, entry("c")], "unexpected inference input 'c' for model 'pair'"),
    ("two too few, one too many", [entry("c")], "but got 1 inputs for model 'pair'. Got input(s) ['c'], but missing"),
    ("ragged", [entry(data=[[1.0], 2.0]), B], "it mixes lists and values"),
    ("data is no list", [entry(data=1.0), B], "Unable to parse 'data' of input 'a': expected a list, but it is a number"),
    ("shape is no list", [entry(shape=3), B], "Unable to parse 'shape' of input 'a': expected a list"),
    ("no shape", [{"name": "a", "datatype": "FP32", "data": [1]}, B],
     "Unable to parse 'shape' of input 'a': expected a list, but it is missing or null"),
    ("no datatype", [B, {"name": "a", "shape": [1, 2], "data": [1]}],
     "Unable to parse 'datatype' of input 'a': expected a string, but it is missing or null"),
    ("no data", [{"name": "a", "datatype": "FP32", "shape": [1, 2]}, B], "'data' of input 'a': it is missing"),
    ("no name", [B, {"datatype": "FP32"}], "Unable to parse 'name' of inputs[1]: expected a string, but it is missing"),
    ("shape of floats", [entry(shape=[1.0, 2.0]), B], "Unable to parse 'shape'"),
    ("name is no text", [entry(name=3), B], "Unable to parse 'name' of inputs[0]: expected a string, but it is a number"),  # type: ignore[arg-type]
    ("input is no object", [3], "Unable to parse inputs[0]: expected an object"),
    ("binary without header", [entry(parameters={"binary_data_size": 8}), B], "unexpected 'data' for input 'a'"),
    ("shared memory", [entry(parameters={"shared_memory_region": "r"}), B], "shared memory is not supported"),
]  # fmt: skip


@pytest.mark.parametrize(("inputs", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(inputs: Any, message: str) -> None:
    with pytest.raises(ServerError) as caught:
        rest.decode(PAIR, json.dumps({"id": "4", "inputs": inputs}).encode(), None)
    assert message in caught.value.message
    expected = Code.UNSUPPORTED if "not supported" in message else Code.INVALID
    assert caught.value.code == expected


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "failed to parse the request JSON"),
        ("{", "failed to parse the request JSON"),
        ("[]", "Unable to parse the request: expected an object, but it is a list"),
        ("{}", "Unable to parse 'inputs'"),
        ("\ufeff{}", "Unable to parse 'inputs'"),
        ('{"id":1,"inputs":[]}', "Unable to parse 'id'"),
        ("[" * 100_000, "JSON nesting depth exceeds"),
        ("1" * 5000, "failed to parse the request JSON: it has a number with too many digits"),
        ('{"parameters":{"triton_x":1},"inputs":[]}', "reserved for Triton usage"),
        ('{"parameters":{"timeout":"1"},"inputs":[]}', "Unable to parse 'timeout'"),
        ('{"parameters":{"timeout":-1},"inputs":[]}', "Unable to parse 'timeout'"),
        ('{"parameters":{"timeout":true},"inputs":[]}', "Unable to parse 'timeout'"),
        ('{"parameters":{"binary_data_output":1},"inputs":[]}', "Unable to parse 'binary_data_output'"),
        ('{"inputs":[],"outputs":[{"name":"y"},{"name":"y"}]}', "output 'y' already exists in request"),
        ('{"inputs":[],"outputs":[{"name":"q"}]}', "unexpected inference output 'q' for model 'pair'"),
        (
            '{"inputs":[],"outputs":[{"name":"y","parameters":{"classification":"1"}}]}',
            "Unable to set 'classification'",
        ),
        ('{"inputs":[],"outputs":[{"name":"y","parameters":{"classification":-1}}]}', "Unable to set 'classification'"),
        (
            '{"inputs":[],"outputs":[{"name":"y","parameters":{"classification":true}}]}',
            "Unable to set 'classification' of output 'y': expected a number of classes",
        ),
        ('{"inputs":[],"outputs":[{}]}', r"Unable to parse 'name' of outputs\[0\]: expected a string"),
        (
            '{"inputs":[],"outputs":[{"name":"y","parameters":{"binary_data":1}}]}',
            "Unable to parse 'binary_data' of output 'y': expected true or false, but it is a number",
        ),
        (
            '{"inputs":[],"outputs":[{"name":"z","parameters":{"classification":1}}]}',
            "class result not available for output 'z' due to unsupported type 'FP16'",
        ),
    ],
)
def test_refused_documents(document: str, message: str) -> None:
    with pytest.raises(ServerError, match=message):
        rest.decode(PAIR, document.encode(), None)


@pytest.mark.parametrize(("blob", "at"), [(b"\x01\0\0\0a\x02\0\0\0\xff\xfe", 1), (b"\x01\0\0\0\x80\0\0\0\0", 0)])
def test_bytes_that_are_no_text_are_named(blob: bytes, at: int) -> None:
    spec = identity_spec("BYTES", (-1,))
    raw = RawInput("x", "BYTES", (2,), partial(from_buffer, memoryview(blob)))
    with pytest.raises(ServerError, match=f"element {at} of input 'x' is not UTF-8"):
        build(spec, "", [raw], [])
    handing = replace(spec, hands_on=True)
    request = build(handing, "", [raw], [])
    message = grpc.encode(handing, request, {"y": request.inputs["x"]})
    assert message.raw_output_contents[0] == blob
    as_json = rest.Decoded(request, frozenset())
    with pytest.raises(ServerError, match=f"element {at} of output 'y' is not UTF-8, which JSON does not support"):
        rest.encode(handing, as_json, {"y": request.inputs["x"]})
    document = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [2], "data": ["a", "\ud800"]}]}
    for each in (spec, handing):
        with pytest.raises(ServerError, match="element 1 of input 'x' is not text: it contains an unpaired surrogate"):
            rest.decode(each, json.dumps(document).encode(), None)


def test_deep_data_is_refused() -> None:
    data = "[" * 200 + "1" + "]" * 200
    body = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":%s}]}' % data  # noqa: UP031
    with pytest.raises(ServerError, match="JSON nesting depth"):
        rest.decode(identity_spec("FP32"), body.encode(), None)


def test_fp16_goes_in_binary_form_only() -> None:
    with pytest.raises(ServerError, match="receiving FP16 data via JSON is not supported"):
        rest.decode(identity_spec("FP16"), json.dumps({"inputs": [entry("x", datatype="FP16")]}).encode(), None)
    good = {"inputs": [entry(), B], "outputs": [{"name": "z"}]}
    decoded = rest.decode(PAIR, json.dumps(good).encode(), None)
    with pytest.raises(ServerError, match=r"sending FP16 data via JSON is not supported.* output 'z'"):
        rest.encode(PAIR, decoded, {"z": np.zeros((1, 2), np.float16)})


def test_messages_name_the_request_and_stay_short() -> None:
    with pytest.raises(ServerError) as caught:
        rest.decode(PAIR, json.dumps({"id": "r7", "inputs": [entry("q" * 10_000), B]}).encode(), None)
    assert caught.value.message.startswith("[request id: r7] unexpected inference input")
    assert len(caught.value.message) <= MAX_MESSAGE + 1


def test_binary_bounds() -> None:
    def body(size: int, blob: bytes) -> tuple[bytes, int]:
        head = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": size}}
        text = json.dumps({"inputs": [head]}).encode()
        return text + blob, len(text)

    spec = identity_spec("FP32")
    assert rest.decode(spec, *body(8, b"\0" * 8)).request.rows == 1
    for size, blob, message in (
        (8, b"\0" * 7, "unexpected size for input 'x', expecting 1 additional bytes for model 'm'"),
        (8, b"\0" * 9, "unexpected additional input data for model 'm'"),
        (4, b"\0" * 4, "input byte size mismatch for input 'x' for model 'm'. Expected 8, got 4"),
        (-1, b"", "Unable to parse 'binary_data_size'"),
    ):
        with pytest.raises(ServerError) as caught:
            rest.decode(spec, *body(size, blob))
        assert message in caught.value.message
    with pytest.raises(ServerError, match="must specify valid 'Inference-Header-Content-Length'"):
        rest.decode(spec, body(8, b"")[0], None)


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"\1\0\0", "incomplete string data"),
        (b"\5\0\0\0abc", "incomplete string data"),
        (b"\0\0\0\0" * 3, "unexpected number of string elements 3"),
        (b"\1\0\0\0a", "expected 2 string elements for inference input 'x' for model 'm', got 1"),
        (b"\1\0\0\0a\1\0\0\0\xff", "not UTF-8"),
        (b"\xff\xff\xff\xff", "incomplete string data"),
    ],
)
def test_broken_strings(blob: bytes, message: str) -> None:
    request = service_pb2.ModelInferRequest()
    request.inputs.add(name="x", datatype="BYTES", shape=[1, 2])
    request.raw_input_contents.append(blob)
    with pytest.raises(ServerError, match=message):
        grpc.decode(identity_spec("BYTES"), request)


@pytest.mark.parametrize("header", ["-1", "11", "x", "1_0", " 5", "", "9" * 30, "٣"])
def test_header_length_out_of_range(header: str) -> None:
    with pytest.raises(ServerError, match="inference header size should be in range"):
        rest.header_length(header, 10)
    assert rest.header_length("10", 10) == 10
    assert rest.header_length(None, 10) is None


def test_large_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MAX_JSON", 10)
    with pytest.raises(ServerError, match="request JSON size of 11 bytes exceeds"):
        rest.decode(PAIR, b"{}         ", None)


def test_raw_body() -> None:
    decoded = rest.decode(identity_spec("FP32", (-1, 3, -1)), np.arange(6, dtype="<f4").tobytes(), 0)
    assert decoded.request.inputs["x"].shape == (1, 3, 2)
    assert decoded.binary == {"y"}
    words = rest.decode(identity_spec("BYTES", (-1, 1)), b"hello", 0)
    assert words.request.inputs["x"].tolist() == [["hello"]]
    with pytest.raises(ServerError, match="Raw request must only have 1 input"):
        rest.decode(PAIR, b"", 0)
    with pytest.raises(ServerError, match="more than one variable-sized dimension"):
        rest.decode(identity_spec("FP32", (-1, -1, -1)), b"", 0)
    with pytest.raises(ServerError, match=r"must have input shape \[1\]"):
        rest.decode(identity_spec("BYTES", (-1, 2)), b"", 0)
    with pytest.raises(ServerError, match="input byte size mismatch"):
        rest.decode(identity_spec("FP32", (-1, 3)), b"1234", 0)


def test_not_a_number_travels_by_json() -> None:
    spec = identity_spec("FP32")
    values = [float("nan"), float("inf"), -float("inf"), 3.4028235e38]
    decoded = rest.decode(spec, json.dumps({"inputs": [entry("x", [1, 4], data=values)]}).encode(), None)
    answer, _ = rest.encode(spec, decoded, {"y": decoded.request.inputs["x"]})
    result = Client.parse_response_body(answer).as_numpy("y")
    np.testing.assert_array_equal(result, np.float32([values]))
    too_large = json.dumps({"inputs": [entry("x", [1, 1], "FP64", [7])]}).replace("7", "-1e999").encode()
    with pytest.raises(ServerError, match="element 0 of input 'x' is out of range: FP64 goes from"):
        rest.decode(identity_spec("FP64"), too_large, None)
    request = service_pb2.ModelInferRequest()  # where infinity is one of the numbers
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1]).contents.fp32_contents.append(math.inf)
    assert grpc.decode(spec, request).inputs["x"].tolist() == [[math.inf]]


def test_a_true_byte_is_one() -> None:
    request = service_pb2.ModelInferRequest(raw_input_contents=[b"\0\2"])
    request.inputs.add(name="x", datatype="BOOL", shape=[1, 2])
    assert grpc.decode(identity_spec("BOOL"), request).inputs["x"].view(np.uint8).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (
            lambda m, i: (i.contents.int_contents.extend([1, 2]), m.raw_input_contents.append(b"")),
            "must not be specified",
        ),
        (lambda m, i: i.contents.int64_contents.extend([1, 2]), "int64_contents where int_contents is expected"),
        (lambda m, i: i.contents.int_contents.extend([1]), "Expected 2, got 1"),
        (
            lambda m, i: i.contents.int_contents.extend([1, 300]),
            "element 1 of input 'x' is out of range: INT8 goes from -128 to 127",
        ),
        (lambda m, i: m.raw_input_contents.extend([b"12", b"34"]), "expected 1 raw_input_contents but got 2"),
        (lambda m, i: None, "unable to find data for input tensor 'x'"),
        (
            lambda m, i: i.parameters["shared_memory_region"].CopyFrom(service_pb2.InferParameter(string_param="r")),
            "shared",
        ),
        (
            lambda m, i: m.parameters["timeout"].CopyFrom(service_pb2.InferParameter(string_param="1")),
            "Unable to parse 'timeout'",
        ),
        (
            lambda m, i: m.parameters["triton_x"].CopyFrom(service_pb2.InferParameter(int64_param=1)),
            "reserved for Triton usage",
        ),
    ],
)
def test_grpc_refused(fill: Any, message: str) -> None:
    request = service_pb2.ModelInferRequest()
    fill(request, request.inputs.add(name="x", datatype="INT8", shape=[1, 2]))
    with pytest.raises(ServerError, match=message):
        grpc.decode(identity_spec("INT8"), request)
