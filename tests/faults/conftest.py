"""Faults on a real API server. `make test-faults` runs them all; `-k` picks a fault."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.cluster.paths import state
from dev.cluster.processes import Processes
from dev.kube import Kube
from tests.faults import figures
from tests.faults.cases import Case
from tests.faults.played import Played
from tests.faults.runs import Run, run
from tests.integration.support import control_plane

__all__ = ["control_plane"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the figures go."""
    parser.addoption("--figures", type=Path, help="the page whose figures are replaced by those of this run")


def pytest_configure(config: pytest.Config) -> None:
    """A control plane for each worker."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if worker and "tests/faults" in " ".join(map(str, config.args)):
        os.environ["ONNXMODEL_STATE"] = _of_worker(worker)
        port = int(os.environ.get("ONNXMODEL_CONTROL_PLANE_PORT") or 16443)
        os.environ["ONNXMODEL_CONTROL_PLANE_PORT"] = str(port + 10 * (1 + int(worker)))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the control planes of workers that an interrupt ended before their fixtures."""
    if "PYTEST_XDIST_WORKER" not in os.environ and "tests/faults" in " ".join(map(str, config.args)):
        for worker in range(config.getoption("numprocesses", None) or 0):
            Processes(Path(_of_worker(worker)) / "control-plane").stop()


def _of_worker(worker: str | int) -> str:
    return f"{state('')}-faults-{worker}"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The figures of the run."""
    reports = [report for found in terminalreporter.stats.values() for report in found if hasattr(report, "when")]
    if page := config.getoption("figures", None):
        figures.write(page, reports)


@pytest.fixture(scope="session")
def reference(control_plane: Kube, played: Played, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The life without a fault."""
    return run(Case(), control_plane, played, tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="session")
def played(control_plane: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    with Played(Path(str(control_plane.kubeconfig)), tmp_path_factory.mktemp("kubelet")) as played:
        yield played
