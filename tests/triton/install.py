"""The real tritonserver in the cache: from the wheel that carries it, with this folder's backend in the place of NVIDIA's."""

import os
import shutil
import sys
import sysconfig
import zipfile
from pathlib import Path

from dev.cluster.artifacts import artifact, digest
from dev.cluster.shell import run
from dev.cluster.steps import step

HERE = Path(__file__).parent
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_SERVER = Path("pytriton") / "tritonserver"


def installed() -> Path:
    """The folder that holds bin/tritonserver and backends/, made when the cache has it not."""
    key = digest(HERE / "wheels.txt", HERE / "backend", VERSION, Path(__file__))
    return artifact("triton", "server", key, _install) / _SERVER


def environment() -> dict[str, str]:
    """For tritonserver: where its Python processes find their interpreter's library, numpy and ONNX Runtime."""
    packages = [str(installed().parents[1] / "packages"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    library = sysconfig.get_config_var("LIBDIR") or ""
    return {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, (library, os.environ.get("LD_LIBRARY_PATH", "")))),
        "ONNXMODEL_TRITON_PATH": os.pathsep.join(packages),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _install(target: Path) -> None:
    with step("test Triton: installing", "56 MB; seconds"):
        wheels = target.with_suffix(".wheels")
        try:
            run(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes",
                "--no-deps", "--only-binary=:all:", "--dest", wheels, "-r", HERE / "wheels.txt")  # fmt: skip
            for wheel in wheels.glob("*.whl"):
                folder = target / "packages" if wheel.name.startswith("numpy") else target
                zipfile.ZipFile(wheel).extractall(folder)
        finally:
            shutil.rmtree(wheels, ignore_errors=True)
        arrange(target / _SERVER, VERSION)


def arrange(server: Path, version: str) -> None:
    """Put things where tritonserver looks for them. A wheel keeps no file's mode, and the stub finds its libraries by
    its own place: a copy, not a link."""
    python = server / "backends" / "python"
    shutil.copy(server / "python_backend_stubs" / version / "triton_python_backend_stub", python)
    for program in (server / "bin" / "tritonserver", python / "triton_python_backend_stub"):
        program.chmod(0o755)
    shutil.copytree(HERE / "backend", server / "backends" / "onnxruntime", ignore=shutil.ignore_patterns("__pycache__"))


def main() -> int:
    """python -m tests.triton.install: have it installed, and print where."""
    print(installed())
    return 0


if __name__ == "__main__":
    sys.exit(main())
