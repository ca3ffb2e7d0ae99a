"""The tests' tritonserver may die at its start: it is started again, says so, and leaves nothing behind."""

import dataclasses
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.stages.repository import repository as lay_out
from tests.triton import server as fixture
from tests.triton.install import installed
from tests.triton.server import SHARED_MEMORY, TritonExit, load_log, serving
from tests.unit.runtime import server_support as support
from tests.unit.runtime.triton import cases

# What one did that died: its region in shared memory and a process of its backend stayed.
_PROGRAM = """#!/bin/sh
starts=$(cat {folder}/starts)
echo $((starts + 1)) > {folder}/starts
if [ $starts -lt {deaths} ]; then
  for word; do case $word in --backend-config=python,shm-region-prefix-name=*) mark=${{word##*=}}; esac; done
  echo $mark >> {folder}/marks
  echo region > {shm}/${{mark}}0123
  sleep 600 & echo $! >> {folder}/stubs
  echo "terminate called after throwing an instance of 'boost::interprocess::lock_exception'" >&2
  {death}
fi
exec {server}/bin/tritonserver "$@"
"""
Unlucky = Callable[..., Path]


@pytest.fixture
def unlucky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Unlucky:
    """A tritonserver that dies so often before it starts; gives the folder with what it did."""

    def make(deaths: int, death: str = "kill -KILL $$") -> Path:
        folder = tmp_path / "server"
        (folder / "bin").mkdir(parents=True)
        (folder / "starts").write_text("0\n")
        (folder / "backends").symlink_to(installed() / "backends")
        program = folder / "bin" / "tritonserver"
        program.write_text(
            _PROGRAM.format(folder=folder, deaths=deaths, death=death, shm=SHARED_MEMORY, server=installed())
        )
        program.chmod(0o755)
        monkeypatch.setattr(fixture, "installed", lambda: folder)
        return folder

    return make


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    request: RepositoryRequest = cases.request("m", cases.Case(cases.rows, probe=cases.ROW), tmp_path / "model")
    lay_out(dataclasses.replace(request, directory=str(tmp_path / "repository")))
    return tmp_path / "repository"


def left(folder: Path) -> list[str]:
    """Regions of shared memory that those that died left. Their processes are killed, or this fails."""
    marks = (folder / "marks").read_text().split()
    regions = [path.name for path in SHARED_MEMORY.iterdir() if path.name.startswith(tuple(marks))]
    stubs = [int(pid) for pid in (folder / "stubs").read_text().split()]
    support.wait_until(lambda: not any(map(_alive, stubs)))  # they were killed, and end when they next run
    return regions


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("death", ["kill -KILL $$", "exit 1"])
def test_one_that_dies_at_its_start_is_started_again(unlucky: Unlucky, repository: Path, death: str) -> None:
    folder = unlucky(1, death)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with serving(repository, f"--backend-directory={installed()}/backends") as server:
            assert server.config("m")["name"] == "m"
    assert len(told) == 1
    assert "started again: exit code" in str(told[0].message)
    assert "boost::interprocess::lock_exception" in str(told[0].message)
    assert (folder / "starts").read_text() == "2\n"
    assert left(folder) == []


def test_one_that_always_dies_is_given_up_with_its_log(unlucky: Unlucky, repository: Path) -> None:
    folder = unlucky(99)
    with (
        pytest.warns(UserWarning, match="started again"),
        pytest.raises(TritonExit, match="boost::interprocess::lock_exception"),
        serving(repository),
    ):
        raise AssertionError("it became ready")
    assert (folder / "starts").read_text() == "3\n"
    assert len(set((folder / "marks").read_text().split())) == 3, "each has names of its own"
    assert left(folder) == []


def test_a_model_that_it_refuses_is_no_bad_luck(unlucky: Unlucky, repository: Path) -> None:
    folder = unlucky(0)
    (repository / "m" / "config.pbtxt").write_text('backend: "onnxruntime"\nno_such_field: 1\n')
    assert "no_such_field" in load_log(repository, f"--backend-directory={installed()}/backends")
    assert (folder / "starts").read_text() == "1\n"


def test_nothing_is_left_of_one_that_is_killed_while_it_serves(repository: Path) -> None:
    with serving(repository) as server:
        mine = [path for path in SHARED_MEMORY.iterdir() if path.name.startswith(f"{fixture.MARK}_{os.getpid()}_")]
        assert mine, "the backend took the names that it was given"
        tasks = Path(f"/proc/{server.process.pid}/task").glob("*/children")
        stubs = [int(pid) for task in tasks for pid in task.read_text().split()]
        assert stubs
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    assert [path for path in mine if path.exists()] == []
    support.wait_until(lambda: not any(map(_alive, stubs)))  # they were killed, and end when they next run


def test_what_a_killed_test_run_left_is_removed_by_the_next() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    old, other = SHARED_MEMORY / f"{fixture.MARK}_{pid}_0123_4567", SHARED_MEMORY / f"{fixture.MARK}_{os.getpid()}_x"
    sleep = [fixture.PROGRAMS[1], "-c", "import time; time.sleep(600)"]
    stubs = [subprocess.Popen([*sleep, path.name], executable=sys.executable) for path in (old, other)]
    try:
        old.touch()
        other.touch()
        fixture.sweep()
        assert (old.exists(), other.exists()) == (False, True)
        assert stubs[0].wait(60) == -signal.SIGKILL
        assert stubs[1].poll() is None
    finally:
        for stub in stubs:
            stub.kill()
            stub.wait()
        old.unlink(missing_ok=True)
        other.unlink(missing_ok=True)
