"""The suites: their models, and the tests that a server of one ONNX model cannot pass, with the reason of each."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.tritonqa.models import FLOAT, INT64, STRING, Model, generated, stand_in


@dataclass(frozen=True)
class Suite:
    """out: reasons by the names of tests. never: those among them that are not even tried."""

    name: str
    file: str
    models: Callable[[Path, Path], dict[str, Model]]
    out: dict[str, str] = field(default_factory=dict)
    never: tuple[str, ...] = ()


def _infer(qa: Path, into: Path) -> dict[str, Model]:
    return _without_bf16(generated(qa, "gen_qa_models.py", into))


def _variable(qa: Path, into: Path) -> dict[str, Model]:
    models = _without_bf16(generated(qa, "gen_qa_models.py", into, "--variable"))
    for name in list(models):  # the suite asks for all backends
        for other in ("plan", "libtorch", "simple_plan", "sequence_plan", "fan_plan"):
            models[name.replace("onnx", other, 1)] = models[name]
    return models


def _without_bf16(models: dict[str, Model]) -> dict[str, Model]:
    """As Triton's own scripts have it on a CPU, where ONNX Runtime does not add BF16."""
    return {name: model for name, model in models.items() if "bf16" not in name}


def _identity(qa: Path, into: Path) -> dict[str, Model]:
    models = generated(qa, "gen_qa_identity_models.py", into)
    for name in list(models):  # ensembles of nothing but copies: to clients, a copy
        for ensemble in ("simple_zero", "sequence_zero", "fan_zero"):
            models[name.replace("onnx", ensemble, 1)] = models[name]
    return models


def _http(qa: Path, into: Path) -> dict[str, Model]:
    models = _identity(qa, into / "identity")
    plain = models["onnx_zero_1_float32"]
    # Triton's script changes config.pbtxt; what ONNX Runtime says of a file is the file's.
    one = stand_in(into, "one", {"INPUT0": (STRING, ["n", 1])}, (STRING, ["n", 1]))
    models["onnx_zero_1_object_1_element"] = Model(one.path, 8)
    waiting = {"max_queue_delay_microseconds": 1_000_000, "preferred_batch_sizes": (8,), "max_queue_size": 1}
    models["onnx_zero_1_float32_queue"] = Model(plain.path, 8, waiting)
    for name, kind in (("simple_identity", STRING), ("simple_identity_int64", INT64)):
        models[name] = stand_in(into, name, {"INPUT0": (kind, ["n", "m"])}, (kind, ["n", "m"]))
    return models


def _validation(qa: Path, into: Path) -> dict[str, Model]:
    models = _infer(qa, into / "infer")
    some = {f"INPUT{number}": (FLOAT, ["n"]) for number in range(4)}
    three = dict(list(some.items())[:3])
    models["input_all_required"] = stand_in(into, "input_all_required", three, (FLOAT, [1]))
    models["input_optional"] = stand_in(into, "input_optional", some, (FLOAT, [1]), optional=("INPUT3",))
    models["input_all_optional"] = stand_in(into, "input_all_optional", three, (FLOAT, [1]), optional=tuple(three))
    identity = stand_in(into, "pt_identity", {"INPUT0": (FLOAT, ["n", 8])}, (FLOAT, ["n", 8]))
    models["pt_identity"] = Model(identity.path, 8)
    return models


def _strings(qa: Path, into: Path) -> dict[str, Model]:
    models = _identity(qa, into / "identity")
    models["string_identity"] = stand_in(into, "string_identity", {"INPUT0": (STRING, [8])}, (STRING, [8]))
    return models


def _scalar(qa: Path, into: Path) -> dict[str, Model]:
    return generated(qa, "gen_qa_ort_scalar_models.py", into)


def _initializer(qa: Path, into: Path) -> dict[str, Model]:
    folder = qa / "L0_initializer_as_input" / "models" / "add_with_initializer" / "1"
    into.mkdir(parents=True)
    return {"add_with_initializer": Model(Path(shutil.copy(folder / "model.onnx", into)), 0)}


_LOADING = "clients load no models: an OnnxModel does"
_BOTH_LENGTHS = (
    "it sends Content-Length and Transfer-Encoding together, which two servers can read differently (request smuggling); "
    "RFC 9112 lets a server refuse that"
)

SUITES = (
    Suite(
        "L0_http",
        "http_test.py",
        _http,
        {
            "HttpTest::test_content_encoding_chunked_manually": _BOTH_LENGTHS,
            "HttpTest::test_negative_dimensions": "it wants 500 for a request that is wrong; here that is 400",
            "HttpTest::test_load_oversized_file_parameter": _LOADING,
            "HttpTest::test_loading_large_invalid_model": _LOADING + ", and the test needs 10 GB of memory",
        },
        never=("HttpTest::test_loading_large_invalid_model",),
    ),
    Suite(
        "L0_infer",
        "infer_test.py",
        _infer,
        {
            f"InferTest::test_raw_version_{name}": "it asks for versions 2 and 3: each version is a server of its own"
            for name in ("all", "latest_1", "latest_2", "specific_1_3")
        },
    ),
    Suite("L0_infer_zero", "infer_zero_test.py", _identity),
    Suite("L0_infer_variable", "infer_variable_test.py", _variable),
    Suite(
        "L0_input_validation",
        "input_validation_test.py",
        _validation,
        {
            "InputShapeTest::test_input_string_shape_validation": (
                "of two inputs that are both wrong it wants the second one to be named, as Triton's hash table has it"
            ),
            "InputShapeTest::test_wrong_input_shape_tensor_size": "TensorRT's shape tensors, by shared memory",
            **{
                f"ModelNameValidationTest::test_model_name_{name}": _LOADING
                for name in ("empty_load", "invalid_load", "valid", "whitespace_only_load")
            },
        },
    ),
    Suite("L0_string_io", "string_client_test.py", _strings),
    Suite("L0_scalar_io", "scalar_test.py", _scalar),
    Suite("L0_initializer_as_input", "test.py", _initializer),
)
