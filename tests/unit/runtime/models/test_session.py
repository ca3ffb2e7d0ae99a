"""A provider that was not asked for never runs a node.

ONNX Runtime's CPU build has one more provider, Azure's, which takes no node of these models: it stands for a GPU's here.
"""

from pathlib import Path
from typing import Any

import pytest

from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models import session
from tests import models


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return models.save(models.mlp(), tmp_path)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"CUDA": "AzureExecutionProvider", "CPU": "CPUExecutionProvider"}
    monkeypatch.setattr(session, "PROVIDERS", names)
    monkeypatch.setattr(session, "_NAMES", {runtime: name for name, runtime in names.items()})


def refused(path: Path, providers: Providers) -> StageError:
    with pytest.raises(StageError) as caught:
        session.open_session(path, providers)
    assert not caught.value.retry
    assert caught.value.failure.hint
    assert caught.value.failure.field == "spec.serving.executionProviders"
    return caught.value


def test_the_cpu(path: Path) -> None:
    loaded = session.open_session(path, Providers(("CPU",)))
    assert (loaded.use.name, loaded.use.share_percent) == ("CPU", 100.0)
    assert set(loaded.use.nodes) == {"CPU"}


@pytest.mark.parametrize("names", [("CUDA",), ("TensorRT", "CUDA", "CPU"), ("CUDA", "CPU"), ("OpenVINO", "CPU")])
def test_a_provider_that_the_image_has_not(path: Path, names: tuple[str, ...]) -> None:
    failure = refused(path, Providers(names)).failure
    assert failure.reason == "ProviderUnavailable"
    assert f"{names[0]} cannot be loaded: the installed ONNX Runtime has CPU" in failure.message


def test_the_next_may_serve_when_that_is_allowed(path: Path) -> None:
    loaded = session.open_session(path, Providers(("TensorRT", "CUDA", "CPU"), fallback="Allow"))
    assert loaded.use.name == "CPU"
    assert refused(path, Providers(("TensorRT", "CUDA"), fallback="Allow")).failure.reason == "ProviderUnavailable"


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("OpenVINO", {}, {"num_of_threads": "3"}),
        ("OpenVINO", {"device_type": "CPU"}, {"num_of_threads": "3", "device_type": "CPU"}),
        ("OpenVINO", {"num_of_threads": "1"}, {"num_of_threads": "1"}),
        ("OpenVINO", {"load_config": "{}"}, {"load_config": "{}"}),
        ("CUDA", {"device_id": "0"}, {"device_id": "0"}),
        ("CPU", {}, {}),
    ],
)
def test_what_a_provider_is_told(name: str, given: dict[str, str], told: dict[str, str]) -> None:
    assert session.provider_options(name, Providers((name,), options={name: given}, threads=3)) == told
    assert session.provider_options(name, Providers((name,), options={name: given}, threads=0)) == given


def test_an_unknown_provider(path: Path) -> None:
    assert refused(path, Providers(("ROCm",))).failure.reason == "ProviderUnknown"


@pytest.mark.usefixtures("stand_in")
def test_the_cpu_takes_no_node_that_it_was_not_given(path: Path) -> None:
    failure = refused(path, Providers(("CUDA",))).failure
    assert failure.reason == "ProviderIncomplete"
    assert "CUDA does not support" in failure.message
    assert "softmax (Softmax)" in failure.message


@pytest.mark.usefixtures("stand_in")
def test_a_provider_that_runs_nothing_does_not_serve(path: Path) -> None:
    assert refused(path, Providers(("CUDA", "CPU"))).failure.reason == "ProviderUnused"
    loaded = session.open_session(path, Providers(("CUDA", "CPU"), fallback="Allow"))
    assert (loaded.use.name, loaded.use.share_percent) == ("CUDA", 0.0)


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        ("RegisterTensorRTPluginsAsCustomOps(…) Please install TensorRT libraries as mentioned in the GPU page", 1),
        ("CUDA failure 100: no CUDA-capable device is detected ; GPU=0 ; hostname=a", 2),
    ],
)
def test_a_provider_that_fails_aloud(path: Path, monkeypatch: pytest.MonkeyPatch, words: str, gone: int) -> None:
    """As the GPU build does without TensorRT's libraries, or without a GPU: the session fails instead of going on."""
    names = ("TensorRT", "CUDA", "CPU")
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [session.PROVIDERS[name] for name in names])
    created, asked = session._create, []

    def create(path: Path, options: Any, wanted: list[Any]) -> Any:
        asked.append([session.provider_name(name) for name, _ in wanted])
        if asked[-1][0] in names[:gone]:
            raise RuntimeError(words)
        return created(path, options, ["CPUExecutionProvider"])

    monkeypatch.setattr(session, "_create", create)
    failure = refused(path, Providers(names)).failure
    assert failure.reason == "ProviderUnavailable"
    assert f"TensorRT cannot be loaded: ONNX Runtime reports: {words[:20]}" in failure.message
    asked.clear()
    assert session.open_session(path, Providers(names, fallback="Allow")).use.name == "CPU"
    assert asked == [list(names), list(names[gone:])]
    assert refused(path, Providers(("TensorRT",), fallback="Allow")).failure.reason == "ProviderUnavailable"
    monkeypatch.setattr(session, "_create", lambda *_: (_ for _ in ()).throw(RuntimeError("something else")))
    with pytest.raises(RuntimeError, match="something else"):
        session.open_session(path, Providers(names, fallback="Allow"))


@pytest.mark.usefixtures("stand_in")
def test_a_provider_that_is_dropped_silently(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As CUDA's is when a library of its is missing: ONNX Runtime says so in its log only."""
    created = session._create
    monkeypatch.setattr(session, "_create", lambda path, options, _: created(path, options, ["CPUExecutionProvider"]))
    failure = refused(path, Providers(("CUDA", "CPU"))).failure
    assert failure.reason == "ProviderUnavailable"
    assert "dropped it" in failure.message
    assert "kept CPU" in failure.message


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_sleep_when_a_run_is_over(path: Path, threads: int) -> None:
    opened = session.open_session(path, Providers(threads=threads), "All").session.get_session_options()
    assert opened.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert opened.intra_op_num_threads == threads
