"""Unmodified tritonclient in its four flavours against a server of its own process."""

import asyncio
import queue
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

from dev import magika
from tests.unit.runtime import server_support as support

X = np.arange(6, dtype=np.float32).reshape(2, 3)
T = np.array([[b"caf\xc3\xa9"], [b""]], np.object_)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    asked = support.request(support.pair(tmp_path_factory.mktemp("models")), instances=2)
    with support.in_process(asked, ONNXMODEL_MAX_REQUEST_BYTES=str(8 << 20)) as (_, found):
        yield found


@pytest.fixture
def http(ports: list[int]) -> Iterator[Any]:
    with triton_http.InferenceServerClient(f"{support.HOST}:{ports[0]}", concurrency=16) as client:
        yield client


@pytest.fixture
def grpc(ports: list[int]) -> Iterator[Any]:
    with triton_grpc.InferenceServerClient(f"{support.HOST}:{ports[1]}") as client:
        yield client


def inputs(module: Any, x: Any = X, t: Any = T, **options: Any) -> list[Any]:
    values = [module.InferInput("t", list(t.shape), "BYTES"), module.InferInput("x", list(x.shape), "FP32")]
    values[0].set_data_from_numpy(t, **options)
    values[1].set_data_from_numpy(x, **options)
    return values


def check(result: Any, factor: int = 2) -> None:
    np.testing.assert_array_equal(result.as_numpy("y"), X * factor)
    words = [word if isinstance(word, bytes) else word.encode() for word in result.as_numpy("u").flat]
    assert words == list(T.flat)


@pytest.mark.parametrize("version", ["", "1"])
def test_http_metadata(http: Any, version: str) -> None:
    assert http.is_server_live()
    assert http.is_server_ready()
    assert http.is_model_ready("pair", version)
    extensions = ["binary_tensor_data", "classification", "model_configuration", "statistics"]
    assert http.get_server_metadata()["extensions"] == extensions
    metadata = http.get_model_metadata("pair", version)
    assert metadata == {
        "name": "pair",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "t", "datatype": "BYTES", "shape": [-1, 1]},
        ],
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "u", "datatype": "BYTES", "shape": [-1, 1]},
        ],
    }
    config = http.get_model_config("pair", version)
    assert (config["max_batch_size"], config["backend"]) == (32, "onnxruntime")
    assert config["input"][1] == {"name": "t", "data_type": "TYPE_STRING", "dims": [1]}
    assert config["parameters"] == {
        "execution_provider": {"string_value": "CPU"},
        "execution_provider_share": {"string_value": "100.0"},
        "batching": {
            "string_value": "not joined: serving.batching.maxQueueDelayMicroseconds is 0: no request waits for another"
        },
    }
    assert http.get_inference_statistics("pair", version)["model_stats"][0]["version"] == "1"
    assert len(http.get_inference_statistics()["model_stats"]) == 1
    assert http.get_model_repository_index() == [{"name": "pair", "version": "1", "state": "READY", "reason": ""}]


@pytest.mark.parametrize("version", ["", "1"])
def test_grpc_says_the_same(http: Any, grpc: Any, version: str) -> None:
    assert grpc.is_server_live()
    assert grpc.is_server_ready()
    assert grpc.is_model_ready("pair", version)
    assert grpc.get_server_metadata(as_json=True) == http.get_server_metadata()
    metadata = grpc.get_model_metadata("pair", version)
    assert [list(tensor.shape) for tensor in metadata.inputs] == [[-1, 3], [-1, 1]]
    config = grpc.get_model_config("pair", version).config
    assert (config.max_batch_size, list(config.output[0].dims)) == (32, [3])
    assert config.parameters["execution_provider"].string_value == "CPU"
    assert grpc.get_inference_statistics("pair", version).model_stats[0].name == "pair"
    assert grpc.get_model_repository_index().models[0].state == "READY"


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
def test_http_infer(http: Any, binary: bool, packing: str | None) -> None:
    wanted = [triton_http.InferRequestedOutput(name, binary_data=binary) for name in ("u", "y")]
    result = http.infer(
        *("pair", inputs(triton_http, binary_data=binary), "1", wanted, "r-1"),
        request_compression_algorithm=packing,
        response_compression_algorithm=packing,
        parameters={"anything": "goes"},
        headers={"x-some": "header"},
        query_params={"some": "query"},
        timeout=1_000_000,
        priority=1,
        sequence_id=7,
    )
    check(result)
    assert result.get_response()["id"] == "r-1"
    assert [output["name"] for output in result.get_response()["outputs"]] == ["u", "y"]
    check(http.async_infer("pair", inputs(triton_http, binary_data=binary)).get_result())


def test_http_some_outputs(http: Any) -> None:
    result = http.infer("pair", inputs(triton_http), outputs=[triton_http.InferRequestedOutput("y")])
    assert result.as_numpy("u") is None


def test_large_answers_are_compressed(http: Any) -> None:
    x = np.zeros((32, 3), np.float32)
    t = np.array([["a" * 100_000]] * 32, np.object_)
    result = http.infer("pair", inputs(triton_http, x, t), response_compression_algorithm="gzip")
    assert result.as_numpy("u")[31, 0] == b"a" * 100_000


@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
def test_grpc_infer(grpc: Any, packing: str | None) -> None:
    wanted = [triton_grpc.InferRequestedOutput("u"), triton_grpc.InferRequestedOutput("y")]
    result = grpc.infer(
        *("pair", inputs(triton_grpc), "1", wanted, "r-2"),
        parameters={"anything": 1},
        compression_algorithm=packing,
        timeout=1_000_000,
    )
    check(result)
    assert result.get_response().id == "r-2"
    answers: queue.Queue[Any] = queue.Queue()
    grpc.async_infer("pair", inputs(triton_grpc), lambda result, error: answers.put(error or result))
    check(answers.get(timeout=10))


def test_grpc_stream(grpc: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    grpc.start_stream(lambda result, error: answers.put(error or result))
    grpc.async_stream_infer("pair", inputs(triton_grpc), request_id="1", enable_empty_final_response=True)
    grpc.async_stream_infer("pair", inputs(triton_grpc)[:1], request_id="2")
    grpc.async_stream_infer("pair", inputs(triton_grpc), request_id="3")
    first, second, third = (answers.get(timeout=10) for _ in range(3))
    grpc.stop_stream()
    check(first)
    assert first.get_response().parameters["triton_final_response"].bool_param
    assert isinstance(second, InferenceServerException)
    assert "expected 2 inputs but got 1 inputs" in str(second)
    check(third)


async def test_a_stream_runs_side_by_side(tmp_path: Any) -> None:
    """Requests of one stream are joined to batches; answers keep their order, with an error among them."""
    asked = support.request(support.double(tmp_path), max_queue_delay_microseconds=50_000, preferred_batch_sizes=(8,))
    with support.in_process(asked) as (_, found):
        async with triton_grpc_aio.InferenceServerClient(f"{support.HOST}:{found[1]}") as client:

            async def requests() -> Any:
                for number in range(100):
                    x = np.full((1, 2 if number == 50 else 3), number, np.float32)
                    given = [triton_grpc_aio.InferInput("x", list(x.shape), "FP32").set_data_from_numpy(x)]
                    yield {"model_name": "double", "inputs": given, "request_id": str(number)}

            at = 0
            async for result, error in client.stream_infer(requests()):
                if at == 50:
                    assert "unexpected shape for input 'x'" in str(error)
                else:
                    assert result.get_response().id == str(at)
                    assert result.as_numpy("y").tolist() == [[2 * at] * 3]
                at += 1
            assert at == 100
            stats = (await client.get_inference_statistics("double")).model_stats[0]
            assert stats.inference_count == 99
            assert stats.execution_count < 60
            left = client.stream_infer(requests())
            async for _ in left:
                break
            left.cancel()
            assert (await client.is_server_ready()) is True


async def test_http_aio(ports: list[int]) -> None:
    async with triton_http_aio.InferenceServerClient(f"{support.HOST}:{ports[0]}") as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("pair")
        assert (await client.get_model_metadata("pair"))["platform"] == "onnxruntime_onnx"
        assert (await client.get_server_metadata())["name"] == "onnxmodel"
        assert (await client.get_model_config("pair"))["name"] == "pair"
        assert (await client.get_model_repository_index())[0]["state"] == "READY"
        for packing in (None, "gzip", "deflate"):
            check(
                await client.infer(
                    "pair",
                    inputs(triton_http_aio),
                    request_compression_algorithm=packing,
                    response_compression_algorithm=packing,
                )
            )
        with pytest.raises(InferenceServerException, match="Request for unknown model: 'other' is not found"):
            await client.infer("other", inputs(triton_http_aio))


async def test_grpc_aio(ports: list[int]) -> None:
    async with triton_grpc_aio.InferenceServerClient(f"{support.HOST}:{ports[1]}") as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("pair")
        assert (await client.get_model_metadata("pair")).platform == "onnxruntime_onnx"
        check(await client.infer("pair", inputs(triton_grpc_aio)))

        async def requests() -> Any:
            for number in range(3):
                yield {"model_name": "pair", "inputs": inputs(triton_grpc_aio), "request_id": str(number)}

        ids = []
        async for result, error in client.stream_infer(requests()):
            assert error is None
            check(result)
            ids.append(result.get_response().id)
        assert ids == ["0", "1", "2"]


async def test_sixteen_clients(ports: list[int]) -> None:
    async def one(client: Any, module: Any, number: int) -> None:
        for step in range(8):
            x = np.full((1, 3), number * 100 + step, np.float32)
            t = np.array([[str(number).encode()]], np.object_)
            result = await client.infer("pair", inputs(module, x, t))
            np.testing.assert_array_equal(result.as_numpy("y"), x * 2)
            assert result.as_numpy("u").tolist() == t.tolist()

    async with (
        triton_http_aio.InferenceServerClient(f"{support.HOST}:{ports[0]}") as http,
        triton_grpc_aio.InferenceServerClient(f"{support.HOST}:{ports[1]}") as grpc,
    ):
        await asyncio.gather(
            *(one(http, triton_http_aio, number) for number in range(8)),
            *(one(grpc, triton_grpc_aio, number) for number in range(8, 16)),
        )


ERRORS = [
    ("nope", "", "Request for unknown model: 'nope' is not found", "400", "StatusCode.INVALID_ARGUMENT"),
    ("pair", "2", "Request for unknown model: 'pair' version 2 is not found", "404", "StatusCode.NOT_FOUND"),
    ("pair", "x", "version should be an integral value > 0", "400", "StatusCode.INVALID_ARGUMENT"),
    ("pair", "0", "version should be an integral value > 0", "400", "StatusCode.INVALID_ARGUMENT"),
]


@pytest.mark.parametrize(("name", "version", "message", "status", "code"), ERRORS)
def test_unknown_models(http: Any, grpc: Any, name: str, version: str, message: str, status: str, code: str) -> None:
    for client, module, expected in ((http, triton_http, status), (grpc, triton_grpc, code)):
        for ask in (
            lambda client=client: client.get_model_metadata(name, version),
            lambda client=client: client.get_model_config(name, version),
            lambda client=client: client.get_inference_statistics(name, version),
            lambda client=client, module=module: client.infer(name, inputs(module), version),
        ):
            with pytest.raises(InferenceServerException) as caught:
                ask()
            assert message in caught.value.message()
            assert caught.value.status() == expected
    assert not http.is_model_ready(name, version)
    assert not grpc.is_model_ready(name, version)


def test_wrong_requests_over_both(http: Any, grpc: Any) -> None:
    for client, module, status in ((http, triton_http, "400"), (grpc, triton_grpc, "StatusCode.INVALID_ARGUMENT")):
        wrong = module.InferInput("x", [2, 3], "FP64").set_data_from_numpy(X.astype(np.float64))
        for values, message in (
            (inputs(module)[:1], "expected 2 inputs but got 1 inputs for model 'pair'"),
            ([inputs(module)[0], wrong], "inference input 'x' data-type is 'FP64', but model 'pair' expects 'FP32'"),
            (inputs(module, X[:, :2]), "unexpected shape for input 'x' for model 'pair'. Expected [-1,3], got [2,2]"),
            (inputs(module, np.tile(X, (17, 1)), np.tile(T, (17, 1))), "batch-size must be <= 32 for 'pair'"),
        ):
            with pytest.raises(InferenceServerException) as caught:
                client.infer("pair", values, request_id="9")
            assert message in caught.value.message()
            assert "[request id: 9]" in caught.value.message()
            assert caught.value.status() == status


@pytest.mark.parametrize("binary", [True, False])
def test_classification(http: Any, grpc: Any, binary: bool) -> None:
    wanted = [["4.000000:2", "2.000000:1"], ["10.000000:2", "8.000000:1"]]
    for client, asked in (
        (http, triton_http.InferRequestedOutput("y", binary_data=binary, class_count=2)),
        (grpc, triton_grpc.InferRequestedOutput("y", class_count=2)),
    ):
        module = triton_http if client is http else triton_grpc
        found = client.infer("pair", inputs(module), outputs=[asked]).as_numpy("y")
        texts = [word.decode() if isinstance(word, bytes) else word for word in found.flat]
        assert (found.shape, texts) == ((2, 2), [*wanted[0], *wanted[1]])
        refused = module.InferRequestedOutput("u", class_count=1)
        with pytest.raises(InferenceServerException, match="output 'u' due to unsupported type 'BYTES'"):
            client.infer("pair", inputs(module), outputs=[refused])
    for client, module in ((http, triton_http), (grpc, triton_grpc)):  # a parameter of the request means nothing
        check(client.infer("pair", inputs(module), parameters={"classification": 2}))
    negative = triton_grpc.InferRequestedOutput("y", class_count=-1)
    with pytest.raises(InferenceServerException, match="invalid value for 'classification' parameter of output 'y'"):
        grpc.infer("pair", inputs(triton_grpc), outputs=[negative])


def test_an_input_that_the_model_has_a_value_for(tmp_path: Any) -> None:
    """Optional, in Triton's words: and requests that give it share no batch with others."""
    asked = support.request(support.biased(tmp_path), max_queue_delay_microseconds=20_000)
    with (
        support.in_thread(asked) as server,
        triton_http.InferenceServerClient(f"{support.HOST}:{server.ports[0]}", concurrency=4) as http,
        triton_grpc.InferenceServerClient(f"{support.HOST}:{server.ports[1]}") as grpc,
    ):
        config = http.get_model_config("biased")
        assert config["max_batch_size"] == 32
        assert config["input"] == [
            {"name": "x", "data_type": "TYPE_FP32", "dims": [3]},
            {"name": "bias", "data_type": "TYPE_FP32", "dims": [3], "optional": True},
        ]
        assert [tensor.name for tensor in grpc.get_model_metadata("biased").inputs] == ["x", "bias"]
        assert grpc.get_model_config("biased").config.input[1].optional

        def given(module: Any, bias: Any = None, **options: Any) -> list[Any]:
            made = [module.InferInput("x", [2, 3], "FP32").set_data_from_numpy(X, **options)]
            if bias is not None:
                array = np.asarray(bias, np.float32)
                made.append(module.InferInput("bias", list(array.shape), "FP32").set_data_from_numpy(array, **options))
            return made

        biases = [None, [5, 6, 7], None, [0, 0, 9]]
        for _ in range(2):  # a head that was seen, too
            running = [http.async_infer("biased", given(triton_http, bias)) for bias in biases]
            for bias, one in zip(biases, running, strict=True):
                added = np.array([1, 2, 3] if bias is None else bias, np.float32)
                np.testing.assert_array_equal(one.get_result().as_numpy("y"), X + added)
                answer = grpc.infer("biased", given(triton_grpc, bias))
                np.testing.assert_array_equal(answer.as_numpy("y"), X + added)
        answer = http.infer("biased", given(triton_http, [5, 6, 7], binary_data=False))
        np.testing.assert_array_equal(answer.as_numpy("y"), X + np.array([5, 6, 7], np.float32))
        for wrong, message in (
            (given(triton_http, [1, 2]), r"unexpected shape for input 'bias'.*Expected \[3\], got \[2\]"),
            (given(triton_http, [1, 2, 3])[1:], r"number of inputs between 1 and 2 but got 1 .* missing .*\['x'\]"),
        ):
            with pytest.raises(InferenceServerException, match=message):
                http.infer("biased", wrong)


BYTES = np.array([[b"\xff\xfe\x00"], [b"caf\xc3\xa9"]], np.object_)


def test_bytes_that_are_no_text_are_handed_on(http: Any, grpc: Any) -> None:
    """Where the model does no more with strings, as `pair` does not."""
    for client, module in ((http, triton_http), (grpc, triton_grpc)):
        assert client.infer("pair", inputs(module, t=BYTES)).as_numpy("u").tolist() == BYTES.tolist()
    wanted = [triton_http.InferRequestedOutput(name, binary_data=False) for name in ("u", "y")]
    with pytest.raises(
        InferenceServerException, match="element 0 of output 'u' is not UTF-8, which JSON does not support"
    ):
        http.infer("pair", inputs(triton_http, t=BYTES), outputs=wanted)
    check(http.infer("pair", inputs(triton_http), outputs=wanted))


def test_unsupported_extensions(http: Any, grpc: Any) -> None:
    for client, status in ((http, "501"), (grpc, "StatusCode.UNIMPLEMENTED")):
        for ask in (
            lambda client=client: client.load_model("pair"),
            lambda client=client: client.unload_model("pair"),
            lambda client=client: client.get_trace_settings(),
            lambda client=client: client.get_log_settings(),
            lambda client=client: client.get_system_shared_memory_status(),
            lambda client=client: client.register_cuda_shared_memory("r", b"", 0, 1),
        ):
            with pytest.raises(InferenceServerException) as caught:
                ask()
            assert "this server does not support " in caught.value.message()
            assert ": " in caught.value.message()  # and what to do
            assert caught.value.status() == status
    for client, module in ((http, triton_http), (grpc, triton_grpc)):
        given = inputs(module)  # an input in shared memory has no raw contents
        given[1].set_shared_memory("region", X.nbytes)
        with pytest.raises(InferenceServerException, match=r"shared memory is not supported .*input 'x'"):
            client.infer("pair", given)


def test_bfloat16_is_refused_in_words(http: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    wrong = triton_http.InferInput("x", [2, 3], "BF16").set_data_from_numpy(X.astype(ml_dtypes.bfloat16))
    with pytest.raises(InferenceServerException, match="data-type is 'BF16', but model 'pair' expects 'FP32'"):
        http.infer("pair", [inputs(triton_http)[0], wrong])


def test_a_compressed_bomb_over_grpc(grpc: Any) -> None:
    """gRPC bounds a message after decompression too."""
    x = np.zeros((2, 2 << 20), np.float32)  # 16 MiB, and some 16 KiB on the wire
    with pytest.raises(InferenceServerException) as caught:
        grpc.infer("pair", inputs(triton_grpc, x), compression_algorithm="gzip")
    assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    assert grpc.is_server_live()


def metrics(port: int) -> dict[str, float]:
    with urlopen(f"http://{support.HOST}:{port}/metrics") as response:
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = response.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def test_statistics_and_metrics_count_the_same(ports: list[int], http: Any, grpc: Any) -> None:
    labels = '{model="pair",version="1"}'
    before, stats = metrics(ports[2]), http.get_inference_statistics("pair")["model_stats"][0]
    http.infer("pair", inputs(triton_http))
    grpc.infer("pair", inputs(triton_grpc))
    grpc.infer("pair", inputs(triton_grpc, X[:1], T[:1]))
    with pytest.raises(InferenceServerException):
        http.infer("pair", [])
    after = metrics(ports[2])
    moved = {name: after[name] - before[name] for name in after}
    assert moved[f"nv_inference_request_success{labels}"] == 3
    assert moved[f"nv_inference_count{labels}"] == 5
    assert moved[f"nv_inference_exec_count{labels}"] == 3
    assert moved['nv_inference_request_failure{model="pair",version="1",reason="OTHER"}'] == 1
    assert moved['nv_inference_request_failure{model="pair",version="1",reason="BACKEND"}'] == 0
    assert after[f"nv_inference_pending_request_count{labels}"] == 0
    total = moved[f"nv_inference_request_duration_us{labels}"]
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert total >= sum(moved[f"nv_inference_{part}_duration_us{labels}"] for part in parts) > 0

    now = grpc.get_inference_statistics("pair", as_json=True)["model_stats"][0]
    assert int(now["inference_count"]) - stats["inference_count"] == 5
    assert int(now["execution_count"]) - stats["execution_count"] == 3
    success = now["inference_stats"]["success"]
    assert int(success["count"]) == after[f"nv_inference_request_success{labels}"]
    assert int(success["ns"]) // 1000 == after[f"nv_inference_request_duration_us{labels}"]
    assert {int(entry["batch_size"]) for entry in now["batch_stats"]} >= {1, 2}


def test_the_client_of_the_page_gets_an_answer() -> None:
    """docs/serving.md, with the demo's model: typed as it is, but for the port."""
    page = (Path(__file__).parents[4] / "docs" / "serving.md").read_text()
    snippet = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert snippet is not None
    assert "'tritonclient[http]'" in page, "what to install"
    with support.in_thread(support.request(magika.model(), name="magika")) as server:
        script = snippet[1].replace("localhost:8000", f"{support.HOST}:{server.ports[0]}")
        assert script != snippet[1]
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[[")
