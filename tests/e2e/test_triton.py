"""The example models on both runtimes: Ready, the same answers through the Service, and Triton's own words when it cannot load.

In the place of NVIDIA's image the cluster runs the real tritonserver from its wheel (tests/triton/Dockerfile).
"""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from dev.kube import found, is_true, until
from onnxmodel_operator import names
from tests import models, unbatched
from tests.e2e.support import QUICK, RUNTIMES, model
from tests.stages import UNSERVED

SCRIPT = (Path(__file__).parent / "answers.py").read_text()
EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 800  # measurements take turns on a node, and the machine does much else
POOLS = ({}, {"nodePool": "gpu", "executionProviders": ["CPU"]})  # measurements take turns on a node: here are two
# Far longer than eight clients of one process need to send: joined is then no matter of luck.
BATCHING = {
    "alone": {"maxBatchSize": 8, "maxQueueDelayMicroseconds": 0},
    "joined": {"maxBatchSize": 8, "maxQueueDelayMicroseconds": 200_000},
}
UNBATCHED = ("state", "voice")
SERVED = [(runtime, kind) for runtime in RUNTIMES for kind in BATCHING]


def examples():
    """Manifests of examples, and of a model of the tests; the rows that are asked for each."""
    random = np.random.default_rng(7)
    rows = {
        "mlp": {"x": random.standard_normal((8, 4)).astype(np.float32)},
    }
    manifests = {"mlp": model("mlp")}
    for name in ("toy", "digits"):  # magika by both runtimes is test_life's
        manifests[name] = yaml.safe_load((EXAMPLES / name / "onnxmodel.yaml").read_text())
        manifests[name]["spec"]["benchmark"] = QUICK
    del manifests["toy"]["spec"]["optimization"]  # all its variants are test_optimization's
    for name in ("toy", "digits"):
        golden = np.load(EXAMPLES / name / "golden.npz")
        rows[name] = {key.removeprefix("input:"): golden[key][:8] for key in golden if key.startswith("input:")}
    return manifests, rows


@pytest.fixture(scope="module")
def refused(kube, platform):
    """What Triton does not serve: applied before all else, and looked at last."""
    made = {"words": models.strings(), "nothing": models.empty_axis()}
    platform.upload({f"{name}/model.onnx": one.SerializeToString() for name, one in made.items()})
    kube.apply(*(model(name, f"s3://models/{name}/model.onnx", serving={"runtime": "triton"}) for name in made))


def without_batch(platform, folder):
    """Models that have no batch axis, with golden data, and what is asked of them."""
    manifests = {}
    files = {}
    for name in UNBATCHED:
        case = unbatched.CASES[name]
        path = models.save(case.make(), folder / name)
        golden, asked = io.BytesIO(), io.BytesIO()
        expected = unbatched.answers(path, case.inputs)
        np.savez(golden, **{f"input:{key}": array for key, array in case.inputs.items()},
                 **{f"output:{key}": array for key, array in expected.items()})  # fmt: skip
        np.savez(asked, **case.inputs)
        platform.upload({f"{name}/1/model.onnx": path.read_bytes(), f"{name}/1/golden.npz": golden.getvalue()})
        files[f"{name}.whole.npz"] = asked.getvalue()
        manifests[name] = model(
            name,
            f"s3://models/{name}/1/model.onnx",
            validation={"batch": "None", "golden": {"uri": f"s3://models/{name}/1/golden.npz"}},
        )
    return manifests, files


@pytest.fixture(scope="module")
def served(kube, platform, refused, tmp_path_factory):
    """By each runtime, without and with requests that wait for others: the status of each model, and what clients were told.

    The same resources, changed: what was measured and chosen stays, so that both serve the very same file.
    """
    manifests, rows = examples()
    platform.upload({f"{name}/1/{file}": (EXAMPLES / name / file).read_bytes()
                     for name in ("toy", "digits") for file in ("model.onnx", "golden.npz")})  # fmt: skip
    whole, files = without_batch(platform, tmp_path_factory.mktemp("unbatched"))
    for name, arrays in rows.items():
        content = io.BytesIO()
        np.savez(content, **arrays)
        files[f"{name}.npz"] = content.getvalue()
    seen = {}
    for runtime, kind in SERVED:
        for number, (name, manifest) in enumerate((manifests | whole).items()):
            waits = BATCHING["alone" if name in whole else kind]  # nothing of those is joined, ever
            manifest["spec"]["serving"] = {"runtime": runtime, "batching": waits, **POOLS[number % 2]}
        kube.apply(*manifests.values(), *whole.values())
        statuses = {
            name: until(f"{name} is Ready by {runtime}, {kind}", found(kube, name, true="Ready"), seconds=SECONDS)[
                "status"
            ]
            for name in (*manifests, *whole)
        }
        told = json.loads(platform.client(kube, f"ask-{runtime}-{kind}", SCRIPT, files, f"{kube.namespace}.svc"))
        seen[runtime, kind] = statuses, told
    return seen


@pytest.mark.parametrize(("runtime", "kind"), SERVED)
def test_status_says_whether_requests_are_joined_and_why_not(served, runtime, kind):
    statuses, _ = served[runtime, kind]
    for name, status in statuses.items():
        batching = status["serving"]["batching"]
        assert batching["joined"] == (kind == "joined" and name not in UNBATCHED), (name, batching)
        if name in UNBATCHED:
            assert batching["reason"] == "the model has no batch axis"
        elif kind == "alone":
            assert batching["reason"].startswith("serving.batching.maxQueueDelayMicroseconds is 0")


@pytest.mark.parametrize("name", examples()[0])
def test_both_runtimes_give_the_same_tensors_over_http_and_grpc_alone_and_joined(served, name):
    _, told = served["onnxruntime", "alone"]
    expected = told[name]["alone"]["http"]
    for (runtime, kind), (_, told) in served.items():
        for protocol in ("http", "grpc"):
            for asked, exact in (("alone", True), ("at_once", kind == "alone")):
                answers = told[name][asked][protocol]
                wanted = expected[-len(answers) :]
                where = f"{runtime} {kind}, {protocol} {asked}"
                for answer, other in zip(answers, wanted, strict=True):
                    compare(answer, other, where, exact, apart=(runtime, kind) == ("triton", "joined"))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", UNBATCHED)
def test_a_model_without_a_batch_axis_is_served_as_it_is(served, name, runtime, tmp_path):
    statuses, told = served[runtime, "alone"]
    case, answer = unbatched.CASES[name], told[f"{name}.whole"]
    expected = unbatched.answers(models.save(case.make(), tmp_path), case.inputs)
    assert answer["max_batch_size"] == 0
    for protocol in ("http", "grpc"):
        compare(answer[protocol], expected, f"{runtime} {protocol}", exact=False, apart=False)
    status = statuses[name]
    assert (status["model"]["batch"], status["active"]["measured"]["batchSize"]) == ("None", 1), (
        "inferences are counted"
    )
    assert status["active"]["served"]["batchSize"] == 1


def compare(answer, wanted, where, exact, apart):
    """apart: a tensor that is nothing but the batch has an axis of its own (docs/serving-triton.md)."""
    assert answer.keys() == wanted.keys(), where
    for output, values in wanted.items():
        array, other = np.asarray(answer[output]), np.asarray(values)
        shape = (*other.shape, 1) if apart and other.ndim == 1 else other.shape
        assert array.shape == shape, (where, output)
        # In a batch of other rows, a matrix product may add up in another order.
        tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-4, "atol": 1e-6}
        np.testing.assert_allclose(array.reshape(other.shape), other, err_msg=f"{where} {output}", **tolerance)


@pytest.mark.parametrize("name", examples()[0])
def test_requests_are_joined_where_they_may_wait_and_nowhere_else(served, name):
    for (runtime, kind), (_, told) in served.items():
        runs = told[name]["runs"]
        assert runs["alone"] == 20, (runtime, kind)
        assert runs["at_once"] < 16 if kind == "joined" else runs["at_once"] == 16, (runtime, kind, runs)


@pytest.mark.parametrize("name", examples()[0])
def test_status_names_the_runtime_and_both_say_the_same_of_the_model(served, name):
    said = []
    for (runtime, kind), (statuses, told) in served.items():
        status = statuses[name]
        assert (status["serving"]["runtime"], status["serving"]["provider"]) == (runtime, "CPU")
        assert told[name]["revision"] == status["active"]["revision"]
        assert told[name]["metrics"] >= 36
        if (runtime, kind) != ("triton", "joined"):  # where the axis of its own is seen
            said.append(json.dumps([told[name]["inputs"], told[name]["outputs"]]))
    assert len(set(said)) == 1


@pytest.mark.parametrize("name", examples()[0])
def test_changing_the_runtime_measures_nothing_again(served, name):
    stages = [
        [(s["digest"], s["completionTime"]) for s in statuses[name]["stages"] if s["name"] in UNSERVED]
        for statuses, _ in served.values()
    ]
    assert len(stages[0]) == len(UNSERVED)
    assert all(other == stages[0] for other in stages)


def test_triton_runs_as_restricted_as_everything_else(kube, served):
    (deployment,) = kube.list("deployments", f"{names.LABEL_MODEL}=mlp")
    assert deployment["metadata"]["labels"][names.LABEL_RUNTIME] == "triton"
    target = f"deployment/{deployment['metadata']['name']}"
    for folder in ("/models", "/artifacts", "/opt"):
        script = f"touch {folder}/x 2>/dev/null && echo written || echo refused"
        assert kube.run("exec", target, "-c", "server", "--", "sh", "-c", script).strip() == "refused", folder


def test_why_triton_cannot_load_a_model_is_in_status(kube, refused):
    """The tests' backend, which runs beside numpy 2 in its image, has no booleans: it fails as a native one would."""
    status = until("it is Stalled", found(kube, "words", true="Stalled", reason="TritonLoadFailed"), seconds=SECONDS)[
        "status"
    ]
    assert status["lastFailure"]["stage"] == "serve"
    assert "cannot be exchanged by the test's backend" in status["lastFailure"]["message"]
    assert not is_true({"status": status}, "Available")


def test_what_triton_cannot_take_is_said_by_name(kube, refused):
    status = until("it is Stalled", found(kube, "nothing", true="Stalled", reason="UnsupportedShape"), seconds=SECONDS)[
        "status"
    ]
    assert status["lastFailure"]["stage"] == "serve"
    assert "'nothing' has an axis of size 0" in status["lastFailure"]["message"]
