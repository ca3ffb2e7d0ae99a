"""The committed examples: the files answer as the framework did that they come from, by the manifests' own rules."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import yaml

from benchmarks.optimize.weights import with_weights
from benchmarks.validator.cases import cases
from onnxmodel_operator.api.resource import parse
from onnxmodel_runtime.contract.codec import loads
from onnxmodel_runtime.contract.fetch import SECRET_PREFIX
from onnxmodel_runtime.contract.model import Tensor, Tolerance
from onnxmodel_runtime.contract.stages import COMMANDS
from onnxmodel_runtime.contract.store import Bucket, PullRequest
from onnxmodel_runtime.contract.validate import ValidateRequest
from onnxmodel_runtime.models.inputs import generate, signature
from onnxmodel_runtime.stages.validate import validate
from tests.builders import body

EXAMPLES = Path(__file__).parents[2] / "examples"
LARGEST = 262_144  # of a file that belongs into a repository


@pytest.mark.parametrize("name", ["toy", "digits"])
def test_the_exported_model_answers_as_its_framework_did(name):
    folder = EXAMPLES / name
    rules = parse(
        body() | yaml.safe_load((folder / "onnxmodel.yaml").read_text()) | {"metadata": body()["metadata"]}
    ).spec
    golden = rules.validation.golden
    assert golden is not None
    result = validate(
        ValidateRequest(
            str(folder),
            inputs=_tensors(rules.validation.inputs),
            outputs=_tensors(rules.validation.outputs),
            golden=Tolerance(**golden.tolerance.model_dump()),
            golden_path=str(folder / "golden.npz"),
        )
    )
    assert not [finding for finding in result.findings if finding.severity != "info"]
    assert result.golden is not None
    assert result.golden.passed
    assert result.golden.max_absolute < 1e-4
    assert (folder / "model.onnx").stat().st_size < LARGEST


def test_the_pod_that_shows_a_bucket_asks_as_the_operator_does():
    pod = yaml.safe_load((EXAMPLES / "artifacts" / "bucket.yaml").read_text())["spec"]
    (container,) = pod["initContainers"]
    command, _, text = container["args"]
    request = loads(COMMANDS[command].request, text)
    assert isinstance(request, PullRequest)
    (mount,) = container["volumeMounts"]
    assert request.directory == mount["mountPath"]
    assert {*json.loads(text)["bucket"]} == {field.name for field in fields(Bucket)}, (
        "none is left to a default in silence"
    )
    assert container["envFrom"][0]["prefix"] == SECRET_PREFIX
    assert "envFrom" not in pod["containers"][0]


def test_the_toy_transformer_is_what_it_is_said_to_be():
    session = ort.InferenceSession(EXAMPLES / "toy" / "model.onnx")
    model = onnx.load(EXAMPLES / "toy" / "model.onnx")
    assert model.opset_import[0].version >= 17
    assert 45_000 < sum(np.prod(tensor.dims, dtype=int) for tensor in model.graph.initializer) < 55_000
    for batch, length in ((1, 6), (3, 128)):
        ids = np.arange(batch * length).reshape(batch, length) % 512
        mask = np.ones_like(ids)
        assert not session.run(None, {"input_ids": ids, "attention_mask": mask})[0].argmax(axis=1).any()
        ids[:, length // 2] = ids[:, 0]
        assert session.run(None, {"input_ids": ids, "attention_mask": mask})[0].argmax(axis=1).all()
        mask[:, length // 2] = 0  # what is hidden is not seen
        assert not session.run(None, {"input_ids": ids, "attention_mask": mask})[0].argmax(axis=1).any()


def test_light_models_get_weights_that_let_signals_through(tmp_path):
    (case,) = cases(tmp_path, ("light",), ("light_squeezenet",))
    made = [with_weights(onnx.load(case.model)).SerializeToString() for _ in range(2)]
    assert made[0] == made[1]
    model = onnx.load_from_string(made[0])
    onnx.checker.check_model(model)
    inputs = generate(signature(model), 1)
    session = ort.InferenceSession(made[0])
    one, other = (session.run(None, {name: sign * array for name, array in inputs.items()})[0] for sign in (1, -1))
    assert np.isfinite(one).all()
    assert np.abs(one - other).max() > 1e-3


def _tensors(given):
    return tuple(Tensor(item.name, item.datatype, tuple(item.shape)) for item in given)
