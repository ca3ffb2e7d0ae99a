"""Requests that might be joined get the answers that they would get alone, from this project's server and from Triton."""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.models import probefile
from onnxmodel_runtime.models.parity import Arrays
from onnxmodel_runtime.rows import joining, trial
from onnxmodel_runtime.server import model as servers
from onnxmodel_runtime.server import selftest
from onnxmodel_runtime.server.model import Instance
from onnxmodel_runtime.stages.repository import repository as lay_out
from tests import models, rowmodels
from tests.triton.server import Triton, serving
from tests.unit.runtime import server_support as support

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tritonclient.http as over_http

DELAY = 50_000
# Of each kind of influence, one: by the values of all rows, by the place in the batch, by the length of the longest.
MIXED = (
    "sequence first",
    "dynamic quantization",
    "maximum of the batch",
    "row numbers",
    "CumSum",
    "TopK",
    "longest row",
)
SHAPES = {"sequence first": (1, 4), "longest row": (6, 2)}


def rows(name: str, count: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    shape = (count, *SHAPES.get(name, (4,)))
    given = {"x": (random.standard_normal(shape) * 4.0**seed).astype(np.float32)}
    if name == "longest row":
        given["mask"] = np.array([[1] * (1 + (seed + row) % 5) + [0] * (5 - (seed + row) % 5) for row in range(count)])
    return given


def plain(path: Path) -> Callable[[Arrays], Arrays]:
    """ONNX Runtime alone."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return lambda given: dict(zip(names, session.run(names, dict(given)), strict=True))


def request(name: str, build: Callable[[], Any], folder: Path, **fields: Any) -> ServeRequest:
    path = models.save(build(), folder / name.replace(" ", "_"))
    given = rows(name, 1, 0)
    probefile.write(path.with_name("probe.npz"), given, dict(plain(path)(given)))
    fields = {
        "probe": str(path.with_name("probe.npz")),
        "max_queue_delay_microseconds": DELAY,
        "max_batch_size": 8,
        **fields,
    }
    return support.request(path, name=path.parent.name, **fields)


def agree(name: str, asked: ServeRequest, address: str) -> None:
    """Eight clients at once, each with rows of its own, and then one with several rows."""
    alone = plain(Path(asked.model))
    given = [rows(name, 1, seed) for seed in range(4)] + [rows(name, 2, seed) for seed in range(3)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: ask(address, asked.name, one), given))
    answers.append(ask(address, asked.name, rows(name, 8, 1)))
    for sent, answer in zip([*given, rows(name, 8, 1)], answers, strict=True):
        np.testing.assert_allclose(answer, alone(sent)["y"], rtol=1e-4, atol=1e-5)


def ask(address: str, name: str, given: dict[str, Any]) -> Any:
    tensors = []
    for key, array in given.items():
        tensors.append(over_http.InferInput(key, list(array.shape), "FP32" if array.dtype.kind == "f" else "INT64"))
        tensors[-1].set_data_from_numpy(array)
    with over_http.InferenceServerClient(address) as client:
        return client.infer(name, tensors).as_numpy("y")


def batching(client: Any, name: str) -> str:
    return str(client.get_model_config(name)["parameters"]["batching"]["string_value"])


@pytest.mark.parametrize("name", MIXED)
def test_the_server_joins_no_rows_that_influence_each_other(name: str, tmp_path: Path) -> None:
    build, words = rowmodels.MIXED[name]
    for fields in ({}, {"probe": ""}):
        asked = request(name, build, tmp_path, **fields)
        with support.in_thread(asked) as server:
            address = f"{support.HOST}:{server.ports[0]}"
            agree(name, asked, address)
            with over_http.InferenceServerClient(address) as client:
                assert words in batching(client, asked.name)
                assert "dynamic_batching" not in client.get_model_config(asked.name)


def test_the_server_joins_rows_that_keep_apart(tmp_path: Path) -> None:
    asked = support.request(
        models.save(models.mlp(), tmp_path), name="mlp", max_queue_delay_microseconds=DELAY, max_batch_size=8
    )
    with (
        support.in_thread(asked) as server,
        over_http.InferenceServerClient(f"{support.HOST}:{server.ports[0]}") as client,
    ):
        assert batching(client, "mlp") == "joined"
        assert client.get_model_config("mlp")["dynamic_batching"]["max_queue_delay_microseconds"] == DELAY


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, ServeRequest]]:
    folder = tmp_path_factory.mktemp("joining")
    made = {name: request(name, rowmodels.MIXED[name][0], folder, max_queue_size=0) for name in MIXED}
    for asked in made.values():
        assert not lay_out(RepositoryRequest(asked, str(folder / "repository"))).joins
    return folder / "repository", made


@pytest.fixture(scope="module")
def triton(repository: tuple[Path, dict[str, ServeRequest]]) -> Iterator[Triton]:
    with serving(repository[0]) as server:
        yield server


@pytest.mark.parametrize("name", MIXED)
def test_triton_joins_no_rows_that_influence_each_other(
    name: str, triton: Triton, repository: tuple[Path, dict[str, ServeRequest]]
) -> None:
    asked = repository[1][name]
    agree(name, asked, triton.http)
    with over_http.InferenceServerClient(triton.http) as client:
        assert rowmodels.MIXED[name][1] in batching(client, asked.name)


# ---- the rule --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "most", "words"),
    [
        ({}, 8, ""),
        ({}, 0, "the model has no batch axis"),
        ({}, 1, "serving.batching.maxBatchSize is 1"),
        ({"max_queue_delay_microseconds": 0}, 8, "serving.batching.maxQueueDelayMicroseconds is 0"),
        ({"unjoined": "why"}, 8, "why"),
        ({"unjoined": "why", "max_queue_delay_microseconds": 0}, 8, "why"),
        ({"unjoined": None, "model": "/absent.onnx"}, 8, "it is not known whether rows of one batch influence"),
    ],
)
def test_why_requests_are_not_joined(fields: Any, most: int, words: str) -> None:
    usual = {"name": "m", "model": "m.onnx", "sha256": "", "unjoined": "", "max_queue_delay_microseconds": 9}
    found = joining.unjoined(ServeRequest(**{**usual, **fields}), most)
    assert words in found.why
    assert bool(found.why) == bool(words)
    assert found.influenced == (fields.get("unjoined", "") != "")
    assert joining.heard(joining.told(found.why)) == found.why


def test_what_a_server_says_otherwise_is_no_word_of_joining() -> None:
    assert joining.heard("") is None
    assert joining.heard("perhaps") is None


# ---- the trial -------------------------------------------------------------------------------------------------------


def tried(run: Callable[[Any], Any], given: Any, most: int = 8) -> str:
    return trial.dependence(lambda inputs: {"y": run(inputs["x"])}, {"x": given}, Tolerance(), most)


GIVEN = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)


@pytest.mark.parametrize(
    "run",
    [
        lambda x: x / np.abs(x).max(),
        lambda x: x - x.mean(0),
        lambda x: np.cumsum(x, 0),
        lambda x: np.cumsum(x[::-1], 0)[::-1],
        lambda x: x + np.arange(len(x), dtype=np.float32)[:, None] % 2,
        lambda x: np.where(np.arange(len(x))[:, None] == len(x) - 1, x, x if len(x) == 1 else 2 * x),
        lambda x: np.round(x / x.max() * 127) * x.max() / 127,
        lambda x: x if len(x) < 3 else x.sum(0),
    ],
)
def test_a_trial_sees_values_and_places(run: Any) -> None:
    assert tried(run, GIVEN)


def test_a_trial_passes_where_rows_keep_apart() -> None:
    assert tried(lambda x: x * 2, GIVEN) == ""
    assert tried(lambda x: x * 2, GIVEN, most=2) == ""
    assert tried(lambda x: x * 2, np.repeat(GIVEN, 2, 0), most=4) == ""
    assert tried(lambda x: x, np.array([["a", "bb"]], object)) == ""
    assert tried(lambda x: x, np.array([[True, False]])) == ""


def test_a_trial_leaves_out_rows_that_the_model_does_not_take() -> None:
    def picky(x: Any) -> Any:
        if (x > 4).any():
            raise ValueError("out of range")
        return x

    assert tried(picky, GIVEN) == ""
    assert "cannot run the rows" in tried(picky, GIVEN * 2)


def test_a_session_that_mixes_what_the_graph_does_not_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of a provider, which no graph tells."""
    row = np.ones((1, 3), np.float32)
    probe = support.probe(tmp_path / "probe.npz", {"x": row}, {"y": 2 * row})
    path = support.double(tmp_path)
    asked = support.request(path, probe=probe, max_queue_delay_microseconds=DELAY, max_batch_size=8)
    run = Instance.run

    def mixing(self: Instance, outputs: Any, inputs: Any) -> Any:
        found = run(self, outputs, inputs)
        return {name: array + len(array) - 1 for name, array in found.items()}

    assert selftest.run(servers.load(asked), asked) == ""
    monkeypatch.setattr(Instance, "run", mixing)
    assert "tested in this session, output 'y' differs" in selftest.run(servers.load(asked), asked)
