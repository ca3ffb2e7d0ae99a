"""A child process of a stage loads what the stage needs, and no client of any network."""

import re
from pathlib import Path

import pytest

from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, Candidate
from onnxmodel_runtime.contract.codec import dumps
from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.contract.validate import ValidateRequest
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.sandbox import parent
from tests import models

# The module socket is no evidence: onnx imports importlib.metadata, which imports email, which imports it.
NETWORK = {"ssl", "http", "asyncio", "urllib3", "requests", "boto3", "botocore", "azure", "grpc", "aiohttp", "sigstore"}
PACKAGES = {
    "validate": {"contract", "errors", "sandbox", "models", "rows", "checks", "stages"},
    "optimize": {"contract", "errors", "sandbox", "models", "rows", "variants", "stages"},
    "benchmark": {"contract", "errors", "machine", "stats", "sandbox", "models", "measuring", "stages"},
    "repository": {"contract", "errors", "machine", "sandbox", "models", "rows", "triton", "stages"},
    "variant": {"contract", "errors", "sandbox", "models", "rows", "variants"},
}
BROUGHT = {"repository": {"asyncio", "grpc", "ssl"}}
"""By tritonclient: the message of Triton's configuration lies beside its client, and is imported with it."""
OTHER_STAGES = {"benchmark": {"culprit"}, "optimize": {"manifest", "verify"}}
"""Modules of stages/ that a stage uses besides its own."""


def asked(command: str, folder: Path) -> tuple[tuple[str, ...], str]:
    """The child of a command, and a request for it."""
    path = models.save(models.mlp(), folder)
    if command == "validate":
        return ("onnxmodel_runtime.stages", command), dumps(ValidateRequest(str(folder)))
    if command == "benchmark":
        candidate = Candidate("original", str(path), digest(path))
        return ("onnxmodel_runtime.stages", command), dumps(
            BenchmarkRequest((candidate,), str(probe(folder)), (1,), (1,), seconds=0.01, windows=3)
        )
    if command == "repository":
        serve = ServeRequest("mlp", str(path), digest(path), str(probe(folder)))
        return ("onnxmodel_runtime.stages", command), dumps(RepositoryRequest(serve, str(folder / "repository")))
    request = OptimizeRequest(str(path), digest(path), str(folder / "out"), ("fp32",))
    return ("onnxmodel_runtime.stages", "optimize"), dumps(request)


def probe(folder: Path) -> Path:
    """As optimize writes it."""
    from onnxmodel_runtime.stages.optimize import optimize

    path = folder / "model.onnx"
    return Path(optimize(OptimizeRequest(str(path), digest(path), str(folder / "probed"), ())).probe)


def imported(said: str) -> list[set[str]]:
    """What each process imported, as Python tells with PYTHONVERBOSE."""
    processes: list[set[str]] = []
    for line in said.splitlines():
        if line.startswith("import _frozen_importlib "):
            processes.append(set())
        elif found := re.match(r"import '([\w.]+)' # ", line):
            processes[-1].add(found[1])
    return processes


@pytest.mark.parametrize("command", ["validate", "optimize", "benchmark", "repository"])
def test_a_child_loads_what_it_needs(command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    child, request = asked(command, tmp_path)
    capfd.readouterr()
    ended = parent.launch(child, request, PYTHONVERBOSE="1")
    assert ended.report is not None
    assert "result" in ended.report
    stage, *variants = imported(capfd.readouterr().err)
    check(command, stage)
    assert len(variants) == (command == "optimize")
    for variant in variants:
        check("variant", variant)


def check(command: str, modules: set[str]) -> None:
    """No network, no other stage, and no package that this process has no use for."""
    assert not {module.partition(".")[0] for module in modules} & NETWORK - BROUGHT.get(command, set())
    ours = {module.split(".")[1] for module in modules if module.startswith("onnxmodel_runtime.")}
    assert ours == PACKAGES[command]
    stages = {module.split(".")[2] for module in modules if module.startswith("onnxmodel_runtime.stages.")}
    assert stages == ({command} if command != "variant" else set()) | OTHER_STAGES.get(command, set())
