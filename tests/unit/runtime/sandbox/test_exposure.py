"""A container that parses a model ends where a webhook has put a credential into it."""

from pathlib import Path

import pytest

from onnxmodel_runtime import job
from onnxmodel_runtime.contract.validate import ValidateRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sandbox.exposure import check_no_identity

TOKENS = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AZURE_FEDERATED_TOKEN_FILE",
)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXMODEL_IDENTITY", "refused")
    for name in TOKENS:
        monkeypatch.delenv(name, raising=False)


def test_no_credential(tmp_path: Path) -> None:
    check_no_identity(tmp_path / "nowhere")
    check_no_identity(tmp_path)


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_in_the_environment(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/a/file")
    with pytest.raises(StageError, match=name):
        check_no_identity(tmp_path)
    monkeypatch.delenv("ONNXMODEL_IDENTITY")
    check_no_identity(tmp_path)


@pytest.mark.parametrize(
    "mount", ["eks.amazonaws.com", "pods.eks.amazonaws.com", "azure", "kubernetes.io", "onnx-operator.dev"]
)
def test_a_token_that_is_mounted(mount: str, tmp_path: Path) -> None:
    (tmp_path / mount).mkdir()
    with pytest.raises(StageError, match=mount):
        check_no_identity(tmp_path)


def test_what_a_runtime_of_containers_mounts_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "rhsm").mkdir()
    check_no_identity(tmp_path)


def test_a_stage_refuses_before_it_reads_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/a/file")
    outcome = job.run("validate", ValidateRequest(directory=str(tmp_path / "not-there")))
    assert outcome.failure is not None
    assert outcome.failure.reason == "CredentialExposed"
    assert not outcome.retry
