"""Whatever a model does to the process that parses it, the end is a result."""

import contextlib
import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxmodel_runtime import job as job_module
from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, Candidate
from onnxmodel_runtime.contract.codec import dumps
from onnxmodel_runtime.contract.fetch import FetchRequest
from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.outcome import ExitCode, decode
from onnxmodel_runtime.contract.validate import ValidateRequest, ValidateResult
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.sandbox import limits, parent
from onnxmodel_runtime.sandbox.child import classify
from onnxmodel_runtime.stages import apart
from tests import models
from tests.unit.runtime.source_support import HERE


def job(command: str, request: object, log: Path, limit: Callable[[], None] | None = None) -> "subprocess.Popen[str]":
    """The command line as a Job runs it."""
    return subprocess.Popen(
        [sys.executable, "-m", "onnxmodel_runtime", command, "--request", dumps(request)],
        env={**os.environ, "ONNXMODEL_TERMINATION_LOG": str(log)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=limit,
    )


def test_a_result_comes_back(tmp_path: Path) -> None:
    models.save(models.mlp(), tmp_path)
    result = apart.run("validate", ValidateRequest(str(tmp_path)))
    assert isinstance(result, ValidateResult)
    assert result.model.nodes == 7


def test_a_child_meets_no_interrupt_before_it_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its imports would end in a traceback. Then it takes one, as a terminal's Ctrl-C must end it."""
    blocked = []
    start = subprocess.Popen

    def popen(*given, **more):
        blocked.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        return start(*given, **more)

    monkeypatch.setattr(subprocess, "Popen", popen)
    models.save(models.mlp(), tmp_path)
    monkeypatch.setattr(parent, "_at_most", lambda _, child: contextlib.nullcontext(os.kill(child.pid, signal.SIGINT)))
    ended = parent.launch(("onnxmodel_runtime.stages", "validate"), dumps(ValidateRequest(str(tmp_path))))
    assert (blocked, ended.code, ended.report) == ([True], -signal.SIGINT, None)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_defect_is_named_once() -> None:
    error = parent.died(1, "validate", "starting")
    assert (
        job_module.defect(error).message
        == "the validate process exited with code 1 and without a report, while starting"
    )
    assert job_module.defect(KeyError("a")).message == "KeyError: 'a'"


def test_a_failure_comes_back(tmp_path: Path) -> None:
    models.save(models.html(), tmp_path)
    with pytest.raises(StageError) as caught:
        apart.run("validate", ValidateRequest(str(tmp_path)))
    assert caught.value.failure.reason == "NotOnnx"


def test_all_findings_of_a_refused_model_come_back_and_reach_the_outcome(tmp_path: Path) -> None:
    models.save(models.mlp(batch=1, opset=12), tmp_path / "model")
    log = tmp_path / "termination"
    process = job("validate", ValidateRequest(str(tmp_path / "model")), log)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.REFUSED, output
    expected = ["ONNX-BATCH", "ONNX-BATCH", "ONNX-OPSET-LOW"]
    assert [finding.id for finding in decode(log.read_text()).findings] == expected
    report = json.loads((tmp_path / "model.validate.json").read_text())
    assert [finding["id"] for finding in report["findings"]] == expected
    assert "ERROR ONNX-OPSET-LOW" in output
    assert "3 errors" in output


def test_a_native_crash_is_refused_and_names_the_step(tmp_path: Path) -> None:
    """A real one: ONNX Runtime divides by zero. validate never loads such a model; optimize is asked to."""
    path = models.save(models.divides_by_zero(), tmp_path)
    log = tmp_path / "termination"
    process = job("optimize", OptimizeRequest(str(path), digest(path), str(tmp_path / "out")), log)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.REFUSED, output
    outcome = decode(log.read_text())
    assert outcome.failure is not None
    assert outcome.failure.reason == "NativeCrash"
    assert "was terminated by SIGFPE while running the original without optimizations" in outcome.failure.message
    assert not outcome.retry


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "StorageFull"), (errno.EROFS, "StorageForbidden"), (errno.EIO, None)]
)
def test_a_volume_that_refuses(tmp_path: Path, number: int, reason: str | None) -> None:
    known = classify(OSError(number, os.strerror(number), str(tmp_path / "probe.npz")), "making fp32")
    assert (known.failure.reason if known else None) == reason
    if known and reason == "StorageFull":
        assert "Expand the model's PersistentVolumeClaim" in known.failure.hint


@pytest.mark.parametrize("damage", ["names", "structure"])
def test_a_damaged_model_is_refused_wherever_that_shows(tmp_path: Path, damage: str) -> None:
    whole = models.mlp().SerializeToString()
    # Names that are no UTF-8 pass the parser, and fail when a message about them is made.
    broken = whole.replace(b"multiply1", b"multipl\xff1").replace(b"Softmax", b"Softm\xffx")
    path = models.save(broken if damage == "names" else models.truncated(), tmp_path)
    for command, request in (
        ("validate", ValidateRequest(str(tmp_path))),
        ("optimize", OptimizeRequest(str(path), digest(path), str(tmp_path / "out"))),
    ):
        with pytest.raises(StageError) as caught:
            apart.run(command, request)
        assert caught.value.failure.reason in ("ModelCorrupt", "SessionFailed")


@pytest.mark.parametrize("hidden", [False, True], ids=["seen", "hidden"])
def test_memory_that_runs_out_is_refused(tmp_path: Path, hidden: bool) -> None:
    """8 GiB under a limit of 3: found where the shapes show it, and a real allocation where they do not."""
    made = models.eats_memory()
    if hidden:
        shape = made.graph.initializer[0]
        shape.CopyFrom(numpy_helper.from_array(np.array([2**31], np.float64), shape.name))
        made.graph.node[0].input[0] = "computed"
        made.graph.node.insert(0, helper.make_node("Cast", ["shape"], ["computed"], to=TensorProto.INT64))
    models.save(made, tmp_path)
    log = tmp_path / "termination"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (3 << 30, 3 << 30))

    process = job("validate", ValidateRequest(str(tmp_path)), log, limit)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.REFUSED, output
    outcome = decode(log.read_text())
    assert outcome.failure is not None
    assert outcome.failure.reason == "OutOfMemory"
    assert (
        "while" if hidden else "node 'large' (ConstantOfShape) creates a tensor of 8.0 GiB"
    ) in outcome.failure.message


def test_a_stopped_container_stops_its_child_and_runs_again(tmp_path: Path) -> None:
    path = models.save(models.mlp(), tmp_path)
    log = tmp_path / "termination"
    request = BenchmarkRequest((Candidate("a", str(path), digest(path)),), "", seconds=600)
    process = job("benchmark", request, log)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("measuring"):
            break
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == ExitCode.RETRY
    outcome = decode(log.read_text())
    assert outcome.failure is not None
    assert outcome.failure.reason == "Interrupted"
    assert "measuring batch size 1" in outcome.failure.message
    assert outcome.retry
    (child,) = children
    assert not Path(f"/proc/{child}").exists()


def test_a_stopped_fetch_leaves_nothing_and_runs_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the request and never answers
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}/m.onnx"
        request = FetchRequest(uri, str(tmp_path / "model"), policy=HERE)
        process = job("fetch", request, tmp_path / "termination")
        silent.settimeout(120)
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)
    assert process.returncode == ExitCode.RETRY
    assert [path.name for path in tmp_path.iterdir()] == ["termination"]


def test_a_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    path = models.save(models.mlp(), tmp_path)
    request = BenchmarkRequest((Candidate("a", str(path), digest(path)),), "", seconds=600)
    process = job("benchmark", request, tmp_path / "termination")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("measuring"):
            break
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.communicate(timeout=120)
    for _ in range(100):
        if not _alive(child):
            return
        time.sleep(0.05)
    pytest.fail("the child is still there")


def _alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # ProcessLookupError where it ends while it is read
        return False


@pytest.mark.parametrize("name", ["SIGFPE", "SIGSEGV", "SIGABRT", "SIGILL", "SIGBUS"])
def test_deaths_by_crash(name: str) -> None:
    error = parent.died(-signal.Signals[name], "optimize", "making fp32")
    assert isinstance(error, StageError)
    assert (error.failure.reason, error.retry) == ("NativeCrash", False)
    assert f"was terminated by {name} while making fp32" in error.failure.message


def test_death_by_the_kernel_names_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "memory_limit", lambda: 2 << 30)
    error = parent.died(-signal.SIGKILL, "optimize", "making fp32")
    assert isinstance(error, StageError)
    assert (error.failure.reason, error.retry) == ("OutOfMemory", False)
    assert "while making fp32 under a limit of 2.0 GiB" in error.failure.message


def test_an_exit_without_a_report_is_a_defect_of_ours() -> None:
    assert isinstance(parent.died(1, "optimize", "starting"), parent.InternalError)


@pytest.mark.parametrize(
    ("file", "text", "limit"),
    [
        ("memory.max", "1073741824\n", 1 << 30),
        ("memory.max", "max\n", 0),
        ("memory/memory.limit_in_bytes", "1073741824\n", 1 << 30),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", 0),
        ("other", "", 0),
    ],
)
def test_memory_limits_of_cgroups(tmp_path: Path, file: str, text: str, limit: int) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert limits.memory_limit(tmp_path) == limit


@pytest.mark.parametrize(
    ("limit", "held", "mine"),
    [(2048, 0, 1984), (2048, 500, 1484), (2048, 1000, 1024), (2048, 5000, 1024), (100, 10, 50)],
)
def test_what_waits_above_is_no_childs_memory(limit: int, held: int, mine: int) -> None:
    """In MiB. 64 of them are for what is counted elsewhere, and half of all is the child's in any case."""
    assert limits.share(limit << 20, held << 20) == mine << 20


def test_memory_that_parents_hold(tmp_path: Path) -> None:
    """Their own pages, up to the first process of the container; of what cannot be seen, nothing."""
    page = resource.getpagesize()
    for pid, above, own in (("self", "30", 1000), ("30", "20", 300), ("20", "1", 20), ("1", "0", 1)):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "stat").write_text(f"4 (a name) 0 7) S {above} 4 4 0")
        (tmp_path / pid / "statm").write_text(f"9000 {own + 50} 50 1 0 100 0\n")
    assert limits.held_above(tmp_path) == 321 * page
    (tmp_path / "1" / "statm").unlink()
    assert limits.held_above(tmp_path) == 320 * page
    assert limits.held_above() > 0


@pytest.mark.parametrize("hard", [resource.RLIM_INFINITY, 700 << 20])
def test_the_share_is_the_limit_of_a_child(hard: int) -> None:
    """A real process, in a container of 1 GiB; and where somebody else has set a smaller limit already."""
    code = (
        "import resource; from onnxmodel_runtime.sandbox import limits\n"
        f"resource.setrlimit(resource.RLIMIT_DATA, ({hard}, {hard}))\n"
        "limits.memory_limit = lambda: 1 << 30\n"
        "limits.held_above = lambda: 100 << 20\n"
        "limits.confine(cpu_only=True)\n"
        "print(*resource.getrlimit(resource.RLIMIT_DATA))"
    )
    expected = 860 << 20 if hard == resource.RLIM_INFINITY else hard
    assert _python(code).split() == [str(expected)] * 2


@pytest.mark.parametrize(("call", "kept"), [("", True), ("limits.give_back_at_once()", False)])
def test_large_blocks_are_given_back_when_they_are_freed(call: str, kept: bool) -> None:
    """64 blocks of 2 MiB, twice: after the first time malloc would keep them, with small ones between."""
    code = (
        "import ctypes; from onnxmodel_runtime.sandbox import limits, memory\n"
        "libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p; libc.free.argtypes = [ctypes.c_void_p]\n"
        f"{call}\n"
        "before = memory.resident_bytes()\n"
        "for _ in range(2):\n"
        "    blocks = []\n"
        "    for _ in range(64):\n"
        "        blocks.append(libc.malloc(2 << 20)); ctypes.memset(blocks[-1], 1, 2 << 20); libc.malloc(5000)\n"
        "    for block in blocks: libc.free(block)\n"
        "print(memory.resident_bytes() - before)"
    )
    assert (int(_python(code)) > 64 << 20) is kept


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_a_model_that_never_ends_is_refused(tmp_path: Path) -> None:
    models.save(models.endless(), tmp_path)
    with pytest.raises(StageError) as caught:
        apart.run("validate", ValidateRequest(str(tmp_path), timeout_seconds=10))
    assert (caught.value.failure.reason, caught.value.retry) == ("TimedOut", False)
    assert "running the model" in caught.value.failure.message


def test_a_loader_without_memory_is_memory_that_ran_out() -> None:
    error = parent.died(127, "validate", "inferring shapes")
    assert isinstance(error, StageError)
    assert (error.failure.reason, error.retry) == ("OutOfMemory", False)
