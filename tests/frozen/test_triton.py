"""The configuration that Triton gets, of specs and of models without a batch axis, is as it was recorded.

`tests/unit/runtime/triton/golden` has one for each rule; these are of what the operator asks for.
"""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from onnxmodel_runtime.contract.codec import loads
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.stages.repository import repository as lay_out
from tests import models, unbatched
from tests.frozen import lives, text
from tests.frozen.cases import CASES

ON_TRITON = {"serving": {"runtime": "triton", "replicas": 1}}
SERVED = [
    name
    for name, case in CASES.items()
    if not case.keys() & {"short", "corrected", "corrected-when-stalled"}
    and ("serving" in case["spec"] or "validation" in case["spec"])
]


def configuration(request: dict[str, object], model: object, folder: Path) -> str:
    """What is written for a request whose model is this one."""
    path = models.save(model, folder)
    request = lives.merged(request, {"directory": str(folder / "models")})
    request = lives.merged(
        request, {"serve": {"model": str(path), "sha256": sha256(path.read_bytes()).hexdigest(), "probe": ""}}
    )
    request = lives.merged(request, {"serve": {"data_sha256": ""}, "engines": ""})
    try:
        result = lay_out(loads(RepositoryRequest, json.dumps(request)))
    except StageError as error:
        return f"{error.failure.reason}: {error.failure.message}\n".replace(str(folder), "{folder}")
    return Path(result.config).read_text() + f"# joins: {result.joins}\n"


@pytest.mark.parametrize("name", SERVED)
def test_the_configuration_of_a_spec_is_as_recorded(name, tmp_path):
    life = lives.begin({**CASES[name], "spec": lives.merged(CASES[name]["spec"], ON_TRITON)}, {})
    life.prove()
    (deployment,) = life.deployments()
    request = json.loads(deployment["spec"]["template"]["spec"]["initContainers"][0]["args"][2])
    text.compare(f"triton/{name}.pbtxt", configuration(request, models.mlp(), tmp_path))


@pytest.mark.parametrize("batch", ["Auto", "None"])
def test_the_configuration_of_models_without_a_batch_axis_is_as_recorded(batch, tmp_path):
    said = []
    for name, case in unbatched.CASES.items():
        serve = {"name": name, "batch": batch, "max_queue_delay_microseconds": 500 if batch == "Auto" else 0}
        said += [f"# {name}\n", configuration({"serve": serve}, case.make(), tmp_path / name)]
    text.compare(f"triton/unbatched-{batch}.pbtxt", "".join(said))
