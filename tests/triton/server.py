"""A running tritonserver: real, on loopback, on free ports, one for each test that wants one."""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.ports import reserved
from tests.triton.install import environment, installed

HOST = "127.0.0.1"
# As the operator's Deployment starts it (render/templates/triton.yaml.j2), but for where it listens.
ARGUMENTS = (
    *("--model-control-mode=none", "--strict-readiness=true", "--disable-auto-complete-config", "--exit-on-error=true"),
    *("--log-info=false", "--exit-timeout-secs=5"),
)
SHARED_MEMORY = Path("/dev/shm")
MARK = "onnxmodel_tests"
PROGRAMS = ("tritonserver", "triton_python_backend_stub")
_INTERPROCESS = re.compile(r"boost::interprocess|boost interprocess", re.IGNORECASE)
_STARTS = 3
_START_SECONDS = 120.0
_STILL_SECONDS, _STILL_WITHIN_SECONDS = 0.5, 30.0


class TritonExit(AssertionError):
    """It ended instead of becoming ready; the message is its log."""


@dataclass(frozen=True)
class Triton:
    """A server that is ready."""

    process: "subprocess.Popen[bytes]"
    http_port: int
    grpc_port: int
    metrics_port: int
    log: Path

    @property
    def http(self) -> str:
        return f"{HOST}:{self.http_port}"

    @property
    def grpc(self) -> str:
        return f"{HOST}:{self.grpc_port}"

    def config(self, model: str) -> dict[str, Any]:
        """A model's configuration as the server understood it."""
        with urllib.request.urlopen(f"http://{self.http}/v2/models/{model}/config", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels, when it was the same twice: Triton answers, then it counts."""
        before, now = -1.0, self._sample(name, labels)
        deadline = time.monotonic() + _STILL_WITHIN_SECONDS
        while now != before:
            assert time.monotonic() < deadline, f"{name} does not stand still"
            time.sleep(_STILL_SECONDS)
            before, now = now, self._sample(name, labels)
        return now

    def _sample(self, name: str, labels: Mapping[str, str]) -> float:
        with urllib.request.urlopen(f"http://{HOST}:{self.metrics_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        samples = [line for line in lines if line.startswith(f"{name}{{") and all(item in line for item in wanted)]
        return sum(float(line.rpartition(" ")[2]) for line in samples)


@contextmanager
def serving(repository: Path, *arguments: str) -> Iterator[Triton]:
    """Serve every model of a repository. Raises TritonExit when one cannot be loaded.

    A server that dies at its start for reasons of its own is started again, with a warning. Whatever happens, nothing of
    it is left: no process, no shared memory.
    """
    log = repository.with_name(f"{repository.name}.log")
    with reserved(3, HOST) as ports, ExitStack() as running:
        for attempt in range(1, _STARTS + 1):
            process = running.enter_context(_process(repository, ports, log, arguments))
            try:
                _wait(process, ports[0], log)
            except TritonExit as ended:
                if attempt == _STARTS or not _unlucky(process.returncode, str(ended)):
                    raise
                running.close()
                warnings.warn(
                    f"tritonserver is started again: {_last_words(process.returncode, str(ended))}", stacklevel=2
                )
            else:
                break
        yield Triton(process, ports[0], ports[1], ports[2], log)


@contextmanager
def _process(
    repository: Path, ports: list[int], log: Path, arguments: tuple[str, ...]
) -> Iterator["subprocess.Popen[bytes]"]:
    """A tritonserver in a process group of its own, whose regions of shared memory have names of their own."""
    server = installed()
    sweep()
    mark = f"{MARK}_{os.getpid()}_{secrets.token_hex(4)}_"
    command = [str(server / "bin" / "tritonserver"), f"--model-repository={repository}"]
    command += [f"--backend-directory={server / 'backends'}", *ARGUMENTS, *arguments]
    command += [f"--backend-config={name},shm-region-prefix-name={mark}" for name in ("python", "onnxruntime")]
    for kind, port in zip(("http", "grpc", "metrics"), ports, strict=True):
        command += [f"--{kind}-address={HOST}", f"--{kind}-port={port}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment(), cwd=repository, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):  # the stubs of its backend outlive a server that died
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for region in SHARED_MEMORY.glob(f"{mark}*"):
            region.unlink(missing_ok=True)


def sweep() -> None:
    """End servers, and remove regions of shared memory, whose test run was killed before it could."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile, or is another user's
            program, *words = command.read_bytes().decode(errors="replace").split("\0")
            if Path(program).name in PROGRAMS and any(map(_orphaned, words)):
                os.kill(int(command.parent.name), signal.SIGKILL)
    for region in SHARED_MEMORY.glob(f"{MARK}_*"):
        if _orphaned(region.name):
            region.unlink(missing_ok=True)


def _orphaned(words: str) -> bool:
    """Whether a server's mark is in these words, and whoever started it is gone."""
    owner = re.search(rf"{MARK}_(\d+)_", words)
    return owner is not None and not Path("/proc", owner[1]).exists()


def _unlucky(code: int, log: str) -> bool:
    """Whether it died of itself: by a signal, or by its own shared memory. A model that it refuses is no bad luck."""
    return code < 0 or _INTERPROCESS.search(log) is not None


def _last_words(code: int, log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()] or ["it logged nothing"]
    return f"exit code {code}; {next(filter(_INTERPROCESS.search, lines), lines[-1])}"


def load_log(repository: Path, *arguments: str) -> str:
    """The log of a server that must not become ready. Raises AssertionError when it does."""
    try:
        with serving(repository, *arguments):
            raise AssertionError("the server became ready")
    except TritonExit as ended:
        return str(ended)


def place(repository: Path, name: str, config: str, model: Path) -> Path:
    """A repository by hand: one model with this configuration."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    shutil.copy(model, folder / "1" / "model.onnx")
    (folder / "config.pbtxt").write_text(config)
    return repository


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise TritonExit(log.read_text(errors="replace"))
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/v2/health/ready", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise AssertionError(f"tritonserver is not ready after {_START_SECONDS:.0f} s: {log.read_text(errors='replace')}")
