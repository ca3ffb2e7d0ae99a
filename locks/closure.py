"""Whether a lock holds all that its entries require: pure, of the lock's text and of what is known of each release."""

import functools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename


@dataclass(frozen=True)
class Entry:
    """One line of a lock with its hashes."""

    name: str
    version: str
    marker: Marker | None
    hashes: frozenset[str]

    @property
    def key(self) -> str:
        """By which metadata.json knows it."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class Wheels:
    """Wheels of one release that say the same: what they require, and for which Pythons they are."""

    names: tuple[str, ...]
    requires: tuple[str, ...]
    python: str


Releases = Mapping[str, Sequence[Wheels]]  # NAME==VERSION -> its wheels for Linux


def entries(text: str) -> list[Entry]:
    """The entries of a lock. Raises ValueError on a line that is not NAME==VERSION [; MARKER] with at least one hash."""
    found = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        words, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
        requirement = Requirement(words)
        pin = re.fullmatch(r"==([^*,]+)", str(requirement.specifier))
        if pin is None or requirement.extras or not hashes:
            raise ValueError(f"not a locked release: {line}")
        found.append(Entry(canonicalize_name(requirement.name), pin[1], requirement.marker, frozenset(hashes)))
    return found


def environments(python: str, machine: str) -> Iterator[dict[str, str]]:
    """The markers' variables for CPython on Linux: of the first patch release of this Python, and of a late one."""
    for patch in (0, 30):
        yield {
            "implementation_name": "cpython",
            "implementation_version": f"{python}.{patch}",
            "os_name": "posix",
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{python}.{patch}",
            "python_version": python,
            "sys_platform": "linux",
        }


def problems(
    locked: Sequence[Entry],
    roots: Iterable[str],
    releases: Releases,
    environment: Mapping[str, str],
    glibc: int,
) -> list[str]:
    """What keeps an installation that resolves and builds nothing from being whole there; empty where it is.

    roots: the requirements that the lock is made from. glibc: the minor version that the machine has.
    """
    here = [entry for entry in locked if entry.marker is None or entry.marker.evaluate(dict(environment))]
    chosen = {entry.name: entry for entry in here}
    fitting = _fitting(here, releases, environment, glibc)
    found = [f"{name} is locked twice" for name in chosen if sum(entry.name == name for entry in here) > 1]
    found += [f"{chosen[name].key} has no wheel" for name, wheels in fitting.items() if not wheels]
    for name, group in fitting.items():
        for wheels in group:
            if not SpecifierSet(wheels.python).contains(environment["python_full_version"]):
                found.append(f"{chosen[name].key} is for Python {wheels.python}")
    for by, extra, requirement in _required(chosen, fitting, roots, environment):
        name = canonicalize_name(requirement.name)
        entry = chosen.get(name)
        if entry is None or not requirement.specifier.contains(entry.version, prereleases=True):
            what = "is not locked" if entry is None else f"is locked at {entry.version}"
            asked = "the source" if by is None else f"{by.key}[{extra}]" if extra else by.key
            found.append(f"{asked} requires {requirement}: {name} {what}")
    return sorted(set(found))


def graph(
    locked: Sequence[Entry],
    roots: Iterable[str],
    releases: Releases,
    environment: Mapping[str, str],
    glibc: int,
) -> dict[str, tuple[Entry | None, frozenset[str]]]:
    """Each release that an installation from a whole lock has there, and the names that it requires; "" is the source."""
    here = [entry for entry in locked if entry.marker is None or entry.marker.evaluate(dict(environment))]
    chosen = {entry.name: entry for entry in here}
    found: dict[str, set[str]] = {name: set() for name in ("", *chosen)}
    fitting = _fitting(here, releases, environment, glibc)
    for by, _, requirement in _required(chosen, fitting, roots, environment):
        found[by.name if by else ""].add(canonicalize_name(requirement.name))
    return {name: (chosen.get(name), frozenset(names - {name})) for name, names in found.items()}


def _fitting(
    here: Sequence[Entry], releases: Releases, environment: Mapping[str, str], glibc: int
) -> dict[str, list[Wheels]]:
    """The wheels that fit. Where several do, an installer chooses one: whatever it chooses must find what it requires."""
    tags = supported(environment["python_version"], environment["platform_machine"], glibc)
    return {
        entry.name: [wheels for wheels in releases[entry.key] if any(_tags(name) & tags for name in wheels.names)]
        for entry in here
    }


def _required(
    chosen: Mapping[str, Entry],
    fitting: Mapping[str, Sequence[Wheels]],
    roots: Iterable[str],
    environment: Mapping[str, str],
) -> Iterator[tuple[Entry | None, str, Requirement]]:
    """Each requirement that holds there, with the entry (None: the source) and the extra of it that has it."""
    todo: list[tuple[Entry | None, str, Requirement]] = [(None, "", _requirement(root)) for root in roots]
    done: set[tuple[str, str]] = set()
    while todo:
        by, extra, requirement = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({**environment, "extra": extra}):
            continue
        yield by, extra, requirement
        entry = chosen.get(name := canonicalize_name(requirement.name))
        if entry is None or not requirement.specifier.contains(entry.version, prereleases=True):
            continue
        for wanted in {"", *requirement.extras} - {extra for known, extra in done if known == name}:
            done.add((name, wanted))
            todo += [(entry, wanted, _requirement(line)) for wheels in fitting[name] for line in wheels.requires]


_requirement = functools.cache(Requirement)


@functools.cache
def _tags(wheel: str) -> frozenset[Tag]:
    return parse_wheel_filename(wheel)[3]


@functools.cache
def supported(python: str, machine: str, glibc: int) -> set[Tag]:
    """The wheels' tags that CPython of this version takes on Linux with glibc 2.x up to this minor version."""
    major, minor = map(int, python.split("."))
    oldest = {"x86_64": 5}.get(machine, 17)
    legacy = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
    platforms = [f"manylinux_2_{number}_{machine}" for number in range(glibc, oldest - 1, -1)]
    platforms += [f"{name}_{machine}" for number, name in legacy.items() if number >= oldest]
    platforms.append(f"linux_{machine}")
    interpreter = f"cp{major}{minor}"
    return {
        *cpython_tags((major, minor), platforms=platforms),
        *compatible_tags((major, minor), interpreter=interpreter, platforms=platforms),
    }


def roots(source: str, extras: Sequence[str] = (), groups: Sequence[str] = ()) -> list[str]:
    """The requirements in pyproject.toml (of these extras and dependency groups) or, without extras, in a .in file."""
    if not extras:
        lines = (line.partition(" #")[0].strip() for line in source.splitlines() if not line.startswith("#"))
        return [line for line in lines if line]
    project: dict[str, Any] = tomllib.loads(source)
    optional = project["project"]["optional-dependencies"]
    own = canonicalize_name(project["project"]["name"])
    found = list(project["project"]["dependencies"])
    todo = [line for extra in extras for line in optional[extra]]
    todo += [line for group in groups for line in project["dependency-groups"][group]]
    while todo:
        requirement = Requirement(line := todo.pop())
        if canonicalize_name(requirement.name) == own:
            todo += [line for extra in requirement.extras for line in optional[extra]]
        else:
            found.append(line)
    return found


def known(metadata: Mapping[str, Any]) -> Releases:
    """metadata.json as it is asked here."""
    return {
        key: [Wheels(tuple(item["wheels"]), tuple(item["requires"]), item["python"]) for item in group]
        for key, group in metadata.items()
    }
