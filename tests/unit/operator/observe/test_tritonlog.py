"""What becomes of the end of Triton's log. The lines are real: of the test's Triton 2.51, or as the native backend has them."""

import pytest

from onnxmodel_operator.observe import tritonlog

END = "error: creating server: Internal - failed to load all models\n"
NOISE = (
    'W1121 20:12:34.295256 7863 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory, pinned memory pool '
    'will not be available: CUDA driver version is insufficient for CUDA runtime version"\n'
    "Error: Failed to initialize NVML\n"
)


def line(source: str, text: str) -> str:
    return f'E1121 20:12:39.093348 8094 {source}] "{text}"\n'


def load(text: str) -> str:
    return line("model_lifecycle.cc:642", f"failed to load 'digits' version 1: {text}")


SHAPE = (
    "model 'digits', tensor 'probabilities': the model expects 2 dimensions (shape [-1,10]) but the model configuration "
    "specifies 2 dimensions (shape [-1,11])"
)


@pytest.mark.parametrize(
    ("log", "reason", "words", "final"),
    [
        (NOISE + load(f"Invalid argument: {SHAPE}") + END, "TritonLoadFailed", SHAPE, True),
        (
            line("backend_model.cc:692", "ERROR: Failed to create instance: TritonModelException: something")
            + load(
                f"Internal: TritonModelException: {SHAPE}\\n\\nAt:\\n  /opt/model.py(140): refuse\\n  "
                "/opt/model.py(91): initialize\\n"
            )
            + END,
            "TritonLoadFailed",
            SHAPE,
            True,
        ),
        (
            load(
                "Internal: onnx runtime error 1: Load model from /models/digits/1/model.onnx failed:Fatal error: f:Nope(-1)"
            ),
            "TritonLoadFailed",
            "onnx runtime error 1: Load model from /models/digits/1/model.onnx failed:Fatal error: f:Nope(-1)",
            True,
        ),
        (
            load("Internal: onnx runtime error 6: CUDA failure 2: out of memory ; GPU=0"),
            "TritonLoadFailed",
            "CUDA failure 2: out of memory",
            False,
        ),
        (
            load("Invalid argument: failed to run warmup sample 'batch-8': an \\\"unusual\\\" input; "),
            "TritonLoadFailed",
            "failed to run warmup sample 'batch-8': an \"unusual\" input;",
            True,
        ),
        (
            line("model_repository_manager.cc:1460", "Poll failed for model directory 'digits': must specify 'dims'")
            + END,
            "TritonLoadFailed",
            "must specify 'dims'",
            True,
        ),
        (
            "E0311 09:00:00.000000 1 model_lifecycle.cc:654] failed to load 'digits' version 1: Not found: unable to find "
            "'/models/digits/1/model.onnx' for model instance 'digits'\n" + END,
            "TritonLoadFailed",
            "unable to find '/models/digits/1/model.onnx' for model instance 'digits'",
            True,
        ),
        (
            line("main.cc:350", "failed to start HTTP service: Unavailable - Socket '0.0.0.0:8000' already in use "),
            "TritonNotStarted",
            "Socket '0.0.0.0:8000' already in use",
            False,
        ),
        (NOISE + END, "TritonNotStarted", "failed to load all models", False),
        # Cut by the kubelet in the middle of the line before.
        ("he model expects\n" + load("Internal: broken") + END, "TritonLoadFailed", "broken", True),
    ],
)
def test_the_reason_is_what_the_repository_index_would_say(log: str, reason: str, words: str, final: bool) -> None:
    found = tritonlog.failure(log)
    assert found is not None
    why, terminal = found
    assert why.reason == reason
    assert why.message.endswith(words) or words in why.message
    assert "At:" not in why.message
    assert "TritonModelException" not in why.message
    assert why.hint
    assert terminal is final


@pytest.mark.parametrize("log", ["", "Traceback (most recent call last):\n  File\nValueError: no", NOISE])
def test_other_logs_are_not_tritons(log: str) -> None:
    assert tritonlog.failure(log) is None


def test_a_reason_of_any_length_fits_a_status() -> None:
    found = tritonlog.failure(load("Internal: " + "long " * 1000))
    assert found is not None
    assert len(found[0].message) <= 1024
