"""From a model's shapes and its author's options to what TensorRT is told. No GPU is needed for the words."""

from pathlib import Path

import onnxruntime as ort
import pytest

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.models import tensorrt
from tests.unit.runtime import server_support as support

IMAGE = Tensor("x", "FP32", (-1, 3, 224, 224))
MASK = Tensor("mask", "INT64", (-1, 512))
FIXED = Tensor("scale", "FP32", (4,))
LABELS = Tensor("labels", "INT64", (-1,))
MIN, OPT, MAX = (f"trt_profile_{which}_shapes" for which in ("min", "opt", "max"))


@pytest.mark.parametrize(
    ("inputs", "rows", "profile"),
    [
        ((IMAGE,), 8, "x:8x3x224x224"),
        ((IMAGE, MASK, FIXED), 1, "x:1x3x224x224,mask:1x512"),
        ((LABELS,), 4, "labels:4"),
        ((FIXED,), 4, ""),  # nothing to tell
        ((), 4, ""),
        ((IMAGE, Tensor("ids", "INT64", (-1, -1))), 4, ""),  # all dynamic axes or none
        ((Tensor("x", "FP32", (1, -1)),), 4, ""),
        ((Tensor("input:0", "FP32", (-1, 2)),), 4, ""),  # TensorRT would read another name
        ((Tensor("a,b", "FP32", (-1, 2)), IMAGE), 4, ""),
        ((Tensor("", "FP32", ()),), 4, ""),
    ],
)
def test_profiles(inputs: tuple[Tensor, ...], rows: int, profile: str) -> None:
    assert tensorrt.profile(inputs, rows) == profile


@pytest.mark.parametrize(
    ("preferred", "most", "batches"),
    [
        ((), 32, (1, 32, 32)),
        ((4, 8), 32, (1, 8, 32)),
        ((8, 64), 32, (1, 8, 32)),
        ((64,), 32, (1, 32, 32)),
        ((), 1, (1, 1, 1)),
    ],
)
def test_profiles_are_of_the_batches_that_will_run(
    preferred: tuple[int, ...], most: int, batches: tuple[int, ...]
) -> None:
    wanted = tensorrt.options({"trt_fp16_enable": "1"}, (MASK,), most=most, preferred=preferred)
    assert wanted == {
        "trt_fp16_enable": "1",
        **{key: f"mask:{rows}x512" for key, rows in zip((MIN, OPT, MAX), batches, strict=True)},
    }


def test_the_authors_options_win() -> None:
    own = {MIN: "mask:2x512", OPT: "mask:2x512", MAX: "mask:2x512"}
    assert tensorrt.options(own, (MASK,), most=32) == own
    assert tensorrt.options({OPT: "mask:2x512"}, (MASK,), most=32) == {OPT: "mask:2x512"}
    given = {"trt_engine_cache_enable": "0", "trt_timing_cache_path": "/elsewhere"}
    assert tensorrt.caches(given, "/engines") == {
        "trt_engine_cache_enable": "0",
        "trt_engine_cache_path": "/engines",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": "/elsewhere",
    }


def test_an_engine_of_something_else_has_another_folder() -> None:
    base = ("a" * 64, {"trt_fp16_enable": "1"}, {"onnxruntime": "1.31.1", "gpu": "NVIDIA L4"})
    others = [
        ("b" * 64, base[1], base[2]),
        (base[0], {"trt_fp16_enable": "0"}, base[2]),
        (base[0], base[1], {"onnxruntime": "1.31.1", "gpu": "NVIDIA A100"}),
        (base[0], base[1], {"onnxruntime": "1.32.0", "gpu": "NVIDIA L4"}),
    ]
    keys = {tensorrt.cache_key(*case) for case in (base, *others)}
    assert len(keys) == 5
    assert tensorrt.cache_key(*base) in keys


def test_providers_are_tuned_where_tensorrt_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = support.double(tmp_path)
    asked = Providers(("TensorRT", "CUDA", "CPU"), options={"TensorRT": {"trt_fp16_enable": "1"}, "CUDA": {"a": "b"}})
    assert tensorrt.tuned(asked, path, "0" * 64, most=8) is asked  # this build has none: opening the session says so
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["TensorrtExecutionProvider"])
    cpu = Providers(("CPU",))
    assert tensorrt.tuned(cpu, path, "0" * 64, most=8) is cpu
    found = tensorrt.tuned(asked, path, "0" * 64, most=8, preferred=(4,), cache=str(tmp_path / "engines"))
    (folder,) = (tmp_path / "engines").iterdir()
    assert (found.names, found.options["CUDA"]) == (asked.names, {"a": "b"})
    assert found.options["TensorRT"] == {
        "trt_fp16_enable": "1",
        **{key: f"x:{rows}x3" for key, rows in zip((MIN, OPT, MAX), (1, 4, 8), strict=True)},
        **{f"trt_{what}_cache_enable": "1" for what in ("engine", "timing")},
        **{f"trt_{what}_cache_path": str(folder) for what in ("engine", "timing")},
    }
    assert "TensorRT" in tensorrt.tuned(asked, path, "0" * 64, most=8).options
    assert not any("cache" in key for key in tensorrt.tuned(asked, path, "0" * 64, most=8).options["TensorRT"])
