"""Servers: how each is started with a model, and what of it can be seen from outside."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.dataplane.models import Case
from benchmarks.processes import tree

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "build" / "dataplane"
"""Folder in which `make build/dataplane` puts the environments of the peers."""
_HERE = Path(__file__).parent / "peers"
_START_SECONDS = 120.0

Start = Callable[[Case, Path, int, int], tuple[list[str], dict[str, str]]]


@dataclass(frozen=True)
class Subject:
    """A server. start: its command and environment for a model, a scratch folder, an HTTP and a gRPC port.

    binary: whether it takes and gives binary tensors over HTTP.
    """

    name: str
    what: str
    start: Start
    cases: tuple[str, ...] = ("overhead", "middle", "slow")
    environment: str = ""
    binary: bool = True

    @property
    def missing(self) -> str:
        """The reason why the subject cannot run here, or ""."""
        if self.environment and not (PEERS / self.environment).exists():
            return f"{PEERS / self.environment} is missing: make build/dataplane"
        return "no C compiler" if self.name == TRITON_LEAST and not _compiler() else ""


@dataclass
class Running:
    """A server that answers."""

    subject: Subject
    pid: int
    ports: dict[str, int]
    ready_seconds: float
    idle_memory: float

    @property
    def pids(self) -> list[int]:
        """All its processes."""
        return tree(self.pid)

    def memory(self) -> float:
        """MB that its processes hold: what is their own, and of every file what is resident, once.

        Not the proportional set size: that is the less, the more other servers of this benchmark map the same libraries.
        """
        own, files = 0, Counter[str]()
        for pid in self.pids:
            with contextlib.suppress(OSError):
                anonymous, mapped = _smaps(Path(f"/proc/{pid}/smaps").read_text())
                own += anonymous
                files |= mapped
        return (own + files.total()) * 1024 / 1e6


def _smaps(text: str) -> tuple[int, Counter[str]]:
    """KiB without a file, and of each file."""
    own, files, path = 0, Counter[str](), ""
    for line in text.splitlines():
        fields = line.split(maxsplit=5)
        if not fields[0].endswith(":"):
            path = fields[5] if len(fields) > 5 else ""
        elif fields[0] == "Rss:":
            files[path] += int(fields[1])
        elif fields[0] == "Anonymous:":
            files[path] -= int(fields[1])
            own += int(fields[1])
    return own, files


@contextlib.contextmanager
def running(subject: Subject, case: Case, scratch: Path) -> Iterator[Running]:
    """The server with the model, until the block ends."""
    directory = scratch / f"{subject.environment or 'own'}-{subject.name.split()[0]}-{case.name}"
    directory.mkdir(parents=True, exist_ok=True)
    http, grpc = _free(), _free()
    command, environment = subject.start(case, directory, http, grpc)
    began = time.monotonic()
    with open(directory / "log", "w") as log:
        process = subprocess.Popen(
            command, cwd=directory, env=os.environ | environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while not _ready(http, case.name):
            if process.poll() is not None or time.monotonic() - began > _START_SECONDS:
                raise RuntimeError(f"{subject.name} does not start:\n{(directory / 'log').read_text()[-3000:]}")
            time.sleep(0.005)
        seconds = time.monotonic() - began
        server = Running(subject, process.pid, {"http": http, "grpc": grpc}, seconds, 0.0)
        time.sleep(1)
        server.idle_memory = server.memory()
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _ready(port: int, model: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", f"/v2/models/{model}/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _ours(case: Case, directory: Path, http: int, grpc: int) -> tuple[list[str], dict[str, str]]:
    request = {
        "name": case.name,
        "model": str(case.path),
        "sha256": hashlib.sha256(case.path.read_bytes()).hexdigest(),
        "providers": {"threads": 1},
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": _free(),
    }
    return [sys.executable, "-m", "onnxmodel_runtime.server", "--request", json.dumps(request)], {}


def _triton(case: Case, directory: Path, http: int, grpc: int) -> tuple[list[str], dict[str, str]]:
    environment = PEERS / "triton"
    site = next(environment.glob("lib/python*/site-packages"))
    server = site / "pytriton" / "tritonserver"
    # The Python backend finds its libraries by its place, and refuses backends outside its folder.
    stub = server / "backends" / "python" / "triton_python_backend_stub"
    if not stub.exists():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        shutil.copy(server / "python_backend_stubs" / version / stub.name, stub)
    backend = server / "backends" / "onnxruntime"
    backend.mkdir(exist_ok=True)
    shutil.copy(_HERE / "triton_model.py", backend / "model.py")
    return _tritonserver(case, directory, http, grpc, server, "onnxruntime", site)


def _triton_least(case: Case, directory: Path, http: int, grpc: int) -> tuple[list[str], dict[str, str]]:
    site = next((PEERS / "triton").glob("lib/python*/site-packages"))
    server = site / "pytriton" / "tritonserver"
    backend = server / "backends" / "add"
    backend.mkdir(exist_ok=True)
    library = backend / "libtriton_add.so"
    compiler = _compiler()
    assert compiler is not None
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, _HERE / "triton_add.c"], check=True)
    return _tritonserver(case, directory, http, grpc, server, "add", site)


def _tritonserver(
    case: Case, directory: Path, http: int, grpc: int, server: Path, backend: str, site: Path
) -> tuple[list[str], dict[str, str]]:
    version = directory / "models" / case.name / "1"
    version.mkdir(parents=True, exist_ok=True)
    shutil.copy(case.path, version / "model.onnx")
    dims = ", ".join(map(str, case.x.shape[1:]))
    (version.parent / "config.pbtxt").write_text(
        f'name: "{case.name}"\nbackend: "{backend}"\nmax_batch_size: 32\n'
        f'input [{{ name: "x" data_type: TYPE_FP32 dims: [{dims}] }}]\n'
        f'output [{{ name: "y" data_type: TYPE_FP32 dims: [{dims}] }}]\n'
        "instance_group [{ kind: KIND_CPU count: 1 }]\n"
    )
    libraries = [str(path) for path in site.glob("*.libs")] + [sysconfig.get_config_var("LIBDIR")]
    command = [
        *(str(server / "bin" / "tritonserver"), f"--model-repository={version.parents[1]}"),
        *(f"--backend-directory={server / 'backends'}", "--disable-auto-complete-config", "--allow-metrics=false"),
        *("--http-address=127.0.0.1", "--grpc-address=127.0.0.1", f"--http-port={http}", f"--grpc-port={grpc}"),
    ]
    path = f"{PEERS / 'triton' / 'bin'}:{os.environ['PATH']}"
    return command, {"LD_LIBRARY_PATH": ":".join(libraries), "PYTHONPATH": str(site), "PATH": path}


def _kserve(case: Case, directory: Path, http: int, grpc: int) -> tuple[list[str], dict[str, str]]:
    python = PEERS / "kserve" / "bin" / "python"
    return [*map(str, (python, _HERE / "kserve_server.py", case.name, case.path, http, grpc))], {"PYTHONPATH": ""}


def _mlserver(case: Case, directory: Path, http: int, grpc: int) -> tuple[list[str], dict[str, str]]:
    shutil.copy(_HERE / "mlserver_runtime.py", directory)
    model = {"name": case.name, "implementation": "mlserver_runtime.Model", "parameters": {"uri": str(case.path)}}
    (directory / "model-settings.json").write_text(json.dumps(model))
    settings = {
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": _free(),
        "host": "127.0.0.1",
        "parallel_workers": 0,
    }
    (directory / "settings.json").write_text(json.dumps(settings))
    return [str(PEERS / "mlserver" / "bin" / "mlserver"), "start", "."], {"PYTHONPATH": str(directory)}


def _compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


OURS, TRITON, TRITON_LEAST, KSERVE, MLSERVER = "onnxmodel", "Triton", "Triton, minimal", "KServe", "MLServer"
SUBJECTS = (
    Subject(OURS, "this project's ONNX Runtime server", _ours),
    Subject(
        TRITON, "tritonserver of nvidia-pytriton, ONNX Runtime in its Python backend", _triton, environment="triton"
    ),
    Subject(
        TRITON_LEAST,
        "the same tritonserver with a C backend that only adds, without a runtime",
        _triton_least,
        ("overhead",),
        environment="triton",
    ),
    Subject(KSERVE, "KServe's Python server, a custom model", _kserve, environment="kserve"),
    Subject(
        MLSERVER,
        "MLServer without worker processes, a custom runtime; tensors as JSON",
        _mlserver,
        environment="mlserver",
        binary=False,
    ),
)
