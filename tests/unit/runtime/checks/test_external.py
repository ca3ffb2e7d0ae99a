"""External data stay within the model's folder, are whole, and are pinned or said not to be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from onnxmodel_runtime.contract.validate import ValidateRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.stages.validate import validate
from tests import models
from tests.unit.runtime.validate_support import ids, refused


@pytest.mark.parametrize("location", ["/etc/passwd", "../weights.bin", "a/../../weights.bin", "C:\\weights.bin", ""])
def test_external_data_never_escapes(tmp_path: Path, location: str) -> None:
    (tmp_path / "weights.bin").write_bytes(b"\0" * 4096)
    failure = refused(models.external_data(location), tmp_path / "model").failure
    assert failure.reason == "ExternalDataInvalid"
    assert "outside" in failure.message


def test_external_data_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 4096)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").symlink_to(tmp_path / "secret")
    assert refused(models.external_data(), tmp_path / "model").failure.reason == "ExternalDataInvalid"


def test_external_data_is_whole(tmp_path: Path) -> None:
    models.save_external(tmp_path)
    failure = refused(models.external_data(length=10**12), tmp_path).failure
    assert failure.reason == "ExternalDataInvalid"
    assert "1000000000000" in failure.message


def test_external_data_hidden_in_a_subgraph_is_seen(tmp_path: Path) -> None:
    tensor = models.external_data("../x").graph.initializer[0]
    then = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=tensor)],
        "then",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [4, 8])],
    )
    made = models.mlp()
    made.graph.node.append(helper.make_node("If", ["scores"], ["unused"], then_branch=then, else_branch=then))
    assert refused(made, tmp_path).failure.reason == "ExternalDataInvalid"


def pinned(directory: Path, **options: Any) -> ValidateRequest:
    path = models.save_external(directory)
    return ValidateRequest(str(directory), sha256=digest(path), **options)


def test_weights_beside_a_pinned_model_are_pinned_or_said_not_to_be(tmp_path: Path) -> None:
    request = pinned(tmp_path)
    assert [f.severity for f in validate(request).findings if f.id == "ONNX-PIN"] == ["warning"]
    with pytest.raises(StageError) as caught:
        validate(replace(request, pin_all=True, mode="Warn"))
    assert caught.value.failure.reason == "NotPinned"
    files = {"weights.bin": digest(tmp_path / "weights.bin")}
    assert "ONNX-PIN" not in ids(validate(replace(request, pin_all=True, files=files)))
    weights = tmp_path / "weights.bin"
    weights.write_bytes(bytes(weights.stat().st_size))
    with pytest.raises(StageError) as caught:
        validate(replace(request, files=files))
    assert (caught.value.failure.reason, caught.value.failure.field) == ("DigestMismatch", "spec.source.files")
