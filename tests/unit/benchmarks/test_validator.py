"""A sample of the models that benchmarks/validator runs in full: none crashes the validator, and the verdicts are known."""

from pathlib import Path

import pytest

from benchmarks.validator import cases, numbers, report
from benchmarks.validator.cases import Case
from benchmarks.validator.explain import explain
from benchmarks.validator.judge import Judged, judged
from benchmarks.validator.pool import Verdict

GOOD = (
    *("test_abs", "test_and_bcast3v1d", "test_argmax_default_axis_example", "test_averagepool_2d_default", "test_clip"),
    *(
        "test_conv_with_strides_padding",
        "test_erf",
        "test_gemm_all_attributes",
        "test_layer_normalization_2d_axis0",
    ),
    *(
        "test_lstm_defaults",
        "test_matmul_2d",
        "test_softmax_axis_1",
        "test_where_example",
        "test_if",
        "test_nonzero_example",
    ),
    *("test_mvn", "test_ai_onnx_ml_tree_ensemble_set_membership"),
    *("test_logsoftmax_axis_0", "test_conv_with_autopad_same", "test_qlinearmatmul_2D_uint8_float32"),
)
GOOD_SHIPPED = (
    *(
        "test_single_relu_model",
        "test_shrink",
        "test_Conv2d",
        "test_ReLU",
        "test_Softmax",
        "test_Embedding",
    ),
    *("test_operator_conv", "test_operator_exp", "test_operator_permute2", "test_operator_reduced_sum"),
    *("light_squeezenet", "light_shufflenet"),
)
REFUSED = {
    "test_sequence_insert_at_back": "ONNX-DATATYPE",
    "test_castlike_FLOAT_to_FLOAT8E5M2": "ONNX-DATATYPE",
    "test_if_opt": "ONNX-DATATYPE",
    "test_image_decoder_decode_png_rgb": "ONNX-OPERATOR",
    "test_adam": "ONNX-OPERATOR",
    "test_gru_batchwise": "ONNX-SESSION",
    "test_bitshift_left_int16": "ONNX-OPSET-HIGH",
    "test_Linear": "ONNX-OPERATOR",
    "test_operator_addmm": "ONNX-OPERATOR",
}
# What an input says of the operator's work cannot be made up. Whatever the verdict, it takes neither the process nor hours.
HOSTILE = ("test_constant_pad", "test_wrap_pad", "test_tile", "test_resize_upsample_sizes_nearest", "test_gather_0")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Judged]:
    """One worker for all of them, as in the full run."""
    work = tmp_path_factory.mktemp("models")
    wanted = {*GOOD, *GOOD_SHIPPED, *REFUSED, *HOSTILE}
    sample = cases.cases(work, only=wanted)
    return {case.name: (case, verdict) for case, verdict in judged(sample, timeout=30)}


def test_no_model_of_any_kind_crashes_or_hangs(results: dict[str, Judged]) -> None:
    assert set(results) == {*GOOD, *GOOD_SHIPPED, *REFUSED, *HOSTILE}
    assert {case.kind for case, _ in results.values()} == set(cases.KINDS)
    bad = {name: verdict for name, (_, verdict) in results.items() if verdict.kind not in ("passed", "refused")}
    assert not bad
    assert numbers.times(list(results.values()))["median"] < 1


@pytest.mark.parametrize("name", [*GOOD, *GOOD_SHIPPED])
def test_good_models_pass(results: dict[str, Judged], name: str) -> None:
    case, verdict = results[name]
    assert (verdict.kind, verdict.message) == ("passed", "")
    assert verdict.golden == (case.data_set is not None)


@pytest.mark.parametrize(("name", "finding"), REFUSED.items())
def test_what_cannot_be_served_is_refused_for_its_reason(results: dict[str, Judged], name: str, finding: str) -> None:
    _, verdict = results[name]
    assert (verdict.kind, verdict.reason) == ("refused", finding)


def test_every_refusal_has_an_explanation_on_the_page(results: dict[str, Judged]) -> None:
    everything = list(results.values())
    assert report.unexplained(everything) == []
    page = report.page(everything, cases.only_addresses())
    assert report.UNEXPLAINED not in page
    assert all(name.removeprefix("test_") in page for name in REFUSED)


def test_what_has_no_explanation_is_told() -> None:
    odd: Judged = (Case("node", "test_odd", Path("model.onnx")), Verdict("refused", 0.1, "ONNX-ODD", "it is odd"))
    assert explain("ONNX-ODD", "", "it is odd", "test_odd") == ""
    assert report.unexplained([odd]) == [odd]
    assert f"{report.UNEXPLAINED}: it is odd" in report.page([odd], [])
