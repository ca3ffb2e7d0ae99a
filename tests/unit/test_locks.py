"""Installing from a lock resolves nothing: each lock is whole by itself. No index is asked here."""

import importlib.metadata
import json
import platform
import re
import sys
from fnmatch import fnmatch

import pytest
from packaging.requirements import Requirement
from packaging.tags import sys_tags
from packaging.utils import canonicalize_name

from locks import LOCKS, MACHINES, METADATA, PYTHONS, ROOT
from locks.closure import Wheels, entries, environments, known, problems, roots, supported

RELEASES = known(json.loads(METADATA.read_text()))
HERE = next(environments(f"{sys.version_info.major}.{sys.version_info.minor}", platform.machine()))
DEV = next(lock for lock in LOCKS if lock.path == "locks/dev.txt")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.path)
def test_a_lock_holds_all_that_its_entries_require(lock):
    locked = entries(lock.text())
    wanted = roots(lock.source.read_text(), lock.extras, lock.groups)
    assert locked
    assert wanted
    for python in lock.pythons:
        for machine in lock.machines:
            for environment in environments(python, machine):
                found = problems(locked, () if lock.alone else wanted, RELEASES, environment, lock.glibc)
                assert found == [], f"Python {environment['python_full_version']} on {machine}"


def test_what_is_known_of_releases_is_of_those_that_are_locked():
    locked = {entry.key for lock in LOCKS for entry in entries(lock.text())}
    assert set(RELEASES) == locked, "run make lock"


def test_what_is_known_of_releases_is_what_the_installed_ones_say():
    """Of this environment, which `make setup` made from the development lock: the record cannot say less than the wheels."""
    compared = 0
    for entry in entries(DEV.text()):
        if entry.marker and not entry.marker.evaluate(HERE):
            continue
        installed = importlib.metadata.distribution(entry.name)
        assert installed.version == entry.version, f"{entry.name}: run make setup"
        said = {str(Requirement(line)) for line in installed.requires or ()}
        known_of = [{str(Requirement(line)) for line in wheels.requires} for wheels in RELEASES[entry.key]]
        assert said in known_of, entry.key
        compared += 1
    assert compared > 100


def test_the_locks_claim_what_the_project_claims():
    assert f'requires-python = ">={PYTHONS[0]}"' in (ROOT / "pyproject.toml").read_text()
    for lock in LOCKS:
        if lock.path.startswith("locks/"):
            assert lock.pythons == PYTHONS
    assert set(MACHINES) == {"x86_64", "aarch64"}


def test_every_requirement_of_a_source_has_its_reason():
    sources = [lock.source for lock in LOCKS if lock.source.suffix == ".in"]
    assert len(sources) > 5
    for source in sources:
        for line in source.read_text().splitlines():
            assert line.startswith("# ") or re.search(r"\S {2,}# \S", line), f"{source.name}: {line}"


# ---- what makes a lock unfit -----------------------------------------------------------------------------------------


def test_an_extra_that_is_not_locked_is_found():
    """pydantic[email], of sigstore-rekor-types, once stopped every set-up."""
    wanted = roots(DEV.source.read_text(), DEV.extras, DEV.groups)
    locked = [entry for entry in entries(DEV.text()) if entry.name != "email-validator"]
    found = problems(locked, wanted, RELEASES, next(environments("3.11", "x86_64")), 36)
    assert len(found) == 1
    assert re.fullmatch(r"pydantic==\S+\[email\] requires email-validator.*: email-validator is not locked", found[0])


def _release(key: str, *requires: str, wheel: str = "py3-none-any", python: str = "") -> list[Wheels]:
    return [Wheels((f"{key.replace('==', '-')}-{wheel}.whl",), requires, python)]


HASH = f" --hash=sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("lines", "requires", "expected"),
    [
        (["a==1"], {"a==1": ["b"]}, ["a==1 requires b: b is not locked"]),
        (["a==1", "b==1"], {"a==1": ["b>=2"]}, ["a==1 requires b>=2: b is locked at 1"]),
        (["a==1", "b==2"], {"a==1": ["b>=2"]}, []),
        (["a==1", "b==1 ; python_version >= '3.12'"], {"a==1": ["b"]}, ["a==1 requires b: b is not locked"]),
        (["a==1"], {"a==1": ["b; python_version >= '3.12'"]}, []),
        (["a==1"], {"a==1": ["b; python_full_version < '3.11.3'"]}, ["a==1 requires b; *: b is not locked"]),
        (["a==1"], {"a==1": ["b; extra == 'x'"]}, []),
        (["a==1", "b==1"], {"a==1": ["b[x]"], "b==1": ["c; extra == 'x'"]}, ["b==1[[]x] requires c; *: c is not locked"]),
        (["a==1", "b==1", "c==1"], {"a==1": ["b", "c"], "c==1": ["b[x]"], "b==1": ["d; extra == 'x'"]},
         ["b==1[[]x] requires d; *: d is not locked"]),
        (["a==1", "b==1"], {"a==1": ["a[x]", "b"], "b==1": ["a"]}, []),
        (["a==1", "a==2"], {}, ["a is locked twice"]),
        (["a==1", "b==1", "a==2 ; sys_platform == 'win32'"], {"a==1": ["b"]}, []),
    ],
)  # fmt: skip
def test_problems(lines, requires, expected):
    locked = entries("".join(f"{line}{HASH}\n" for line in lines))
    releases = {entry.key: _release(entry.key, *requires.get(entry.key, ())) for entry in locked}
    found = problems(locked, ["a"], releases, next(environments("3.11", "x86_64")), 36)
    assert len(found) == len(expected)
    assert all(map(fnmatch, found, expected)), found


def test_a_release_for_other_pythons_is_found():
    locked = entries(f"a==1{HASH}")
    releases = {"a==1": _release("a==1", python=">=3.12")}
    assert problems(locked, ["a"], releases, next(environments("3.11", "x86_64")), 36) == ["a==1 is for Python >=3.12"]


def test_each_wheel_that_fits_must_find_what_it_requires():
    """magika's wheel with a program requires other things than the one for any machine."""
    pure, native = _release("a==1", "b"), _release("a==1", "c", wheel="py3-none-manylinux_2_28_x86_64")
    locked = entries(f"a==1{HASH}\nb==1{HASH}")
    releases = {"a==1": [*pure, *native], "b==1": _release("b==1")}
    assert problems(locked, ["a"], releases, next(environments("3.11", "aarch64")), 36) == []
    found = problems(locked, ["a"], releases, next(environments("3.11", "x86_64")), 36)
    assert found == ["a==1 requires c: c is not locked"]


@pytest.mark.parametrize(
    ("wheel", "python", "machine", "glibc", "fits"),
    [
        ("py3-none-any", "3.11", "x86_64", 36, True),
        ("cp311-cp311-manylinux_2_28_x86_64", "3.11", "x86_64", 36, True),
        ("cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64", "3.11", "x86_64", 36, True),
        ("cp310-abi3-manylinux_2_28_aarch64", "3.14", "aarch64", 36, True),
        ("cp312-cp312-manylinux_2_28_x86_64", "3.11", "x86_64", 36, False),
        ("cp312-abi3-manylinux_2_28_x86_64", "3.11", "x86_64", 36, False),
        ("cp311-cp311-manylinux_2_28_x86_64", "3.11", "aarch64", 36, False),
        ("py3-none-manylinux_2_38_x86_64", "3.11", "x86_64", 36, False),
        ("py3-none-manylinux_2_38_x86_64", "3.11", "x86_64", 38, True),
    ],
)
def test_wheels(wheel, python, machine, glibc, fits):
    environment = next(environments(python, machine))
    found = problems(entries(f"a==1{HASH}"), ["a"], {"a==1": _release("a==1", wheel=wheel)}, environment, glibc)
    assert found == ([] if fits else ["a==1 has no wheel"])


def test_the_tags_of_this_interpreter_are_known():
    """Those that pip would take here for glibc 2.36 are those that a lock is tested against."""
    here = {tag for tag in sys_tags() if tag.interpreter.startswith(("cp", "py"))}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    glibc = int(platform.libc_ver()[1].split(".")[1])
    assert supported(version, platform.machine(), glibc) == here


@pytest.mark.parametrize(
    "line", ["a>=1", "a==1.*", "a==1", f"a[x]==1{HASH}", f"a{HASH}", f"a==1,<2{HASH}", f"-r other.txt{HASH}"]
)
def test_a_line_that_pip_would_resolve_is_no_entry(line):
    if line == "a==1":
        line = "a==1\n"  # without a hash
    with pytest.raises(ValueError, match=r"not a locked release|Expected|Invalid"):
        entries(line)


# ---- the places that install -----------------------------------------------------------------------------------------

INSTALLERS = [
    path
    for pattern in (
        "Makefile",
        "**/Dockerfile*",
        "dev/**/*.py",
        "tests/**/*.py",
        "benchmarks/**/*.py",
        "examples/**/*.py",
    )
    for path in sorted(ROOT.glob(pattern))
    # Unit tests install nothing: they quote what people are told.
    if not {".venv", "build", "unit"} & set(path.relative_to(ROOT).parts)
]


def test_every_place_that_installs_takes_a_lock_and_nothing_else():
    found = []
    for path in INSTALLERS:
        text = re.sub(r"\\\n", " ", path.read_text())
        if path.suffix == ".py":
            text = re.sub(r'[",\s]+', " ", text)  # the words of a call
        for words in re.findall(r"\bpip3? (?:install|download)\b[^\n&;)]*", text):
            if " -e ." in words:  # the project itself, by the build system that the development lock has
                assert "--no-deps" in words, path
                assert "--no-build-isolation" in words, path
                continue
            found.append(path)
            for flag in ("--require-hashes", "--no-deps", "--only-binary=:all:", "-r"):
                assert flag in words.split(), f"{path}: {words}"
    assert len(found) >= 9, found


def test_the_build_system_is_locked():
    """It is what builds the project without a build environment of its own."""
    build = re.search(r'^requires = \["(hatchling==\S+)"\]', DEV.source.read_text(), re.MULTILINE)
    assert build is not None
    assert build[1] in {entry.key for entry in entries(DEV.text())}
    wanted = {
        canonicalize_name(Requirement(line).name) for line in roots(DEV.source.read_text(), DEV.extras, DEV.groups)
    }
    assert {"hatchling", "editables"} <= wanted


def test_what_the_image_of_triton_takes_of_the_runtimes_lock_is_whole():
    dockerfile = (ROOT / "tests/triton/Dockerfile").read_text()
    taken = re.search(r"keep = /\^\(([a-z|]+)\)==/", dockerfile)
    assert taken is not None
    runtime = next(lock for lock in LOCKS if lock.path == "locks/runtime-cpu.txt")
    locked = [entry for entry in entries(runtime.text()) if entry.name in taken[1].split("|")]
    for python in PYTHONS:
        for environment in environments(python, "x86_64"):
            assert problems(locked, ["onnxruntime", "numpy"], RELEASES, environment, 36) == []


def test_what_a_dockerfile_copies_reaches_the_builder():
    """The .dockerignore files name what may, and everything else is left out."""
    for dockerfile, context in (
        *((path, path.parent) for path in ROOT.glob("examples/*/Dockerfile")),
        *((ROOT / path / "Dockerfile", ROOT) for path in ("operator", "runtime-image")),
    ):
        allowed = [line[1:] for line in (context / ".dockerignore").read_text().splitlines() if line.startswith("!")]
        copied = [
            word
            for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile.read_text(), re.MULTILINE)
            for word in line.split()[:-1]
        ]
        assert copied
        for word in copied:
            assert any(word == name or (name.endswith("/") and f"{word}/".startswith(name)) for name in allowed), word
