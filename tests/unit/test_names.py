"""A name stands for one thing. Where two things have one name all the same, the reason is here."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from onnxmodel_runtime.contract.stages import COMMANDS

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "operator/onnxmodel_operator",
    "runtime-image/onnxmodel_runtime",
    "cli/onnxmodel_cli",
    "page/onnxmodel_page",
)

NEVER_MEET = "neither package knows the other's, and it is the standard term of each field"
CLASSES = {
    "Calibration": "the same choice, as the spec and as the request say it",
    "Client": f"{NEVER_MEET}: of the API server, of an inference server",
    "Context": f"{NEVER_MEET}: of a decision, of a gRPC call",
    "Ended": "how a container ended, and why a request did",
    "Health": f"{NEVER_MEET}: the endpoints of the operator, the service of gRPC",
    "Kind": f"{NEVER_MEET}: of a Kubernetes object, of a traced value",
    "Operator": f"{NEVER_MEET}: of Kubernetes, of ONNX",
    "Policy": f"{NEVER_MEET}: of the platform, of a queue",
    "Signature": f"{NEVER_MEET}: of a file's author, of a model's inputs",
    "Source": "where a model comes from, as the spec says it and as it is fetched",
    "State": f"{NEVER_MEET}: of a model, of a stream",
    "Step": f"{NEVER_MEET}: of a plan, of the work of a process",
    "Verdict": f"{NEVER_MEET}: on a variant, on a graph",
    "Window": f"{NEVER_MEET}: of live traffic, of a measurement",
}
"""Public classes of all packages."""
MODULES = {
    "apart": "a process of its own: for a stage, for a variant",
    "children": "what a model owns: observed, and brought to what the plan says",
    "datatypes": "the table of datatypes, and how a server carries them",
    "errors": "the exceptions of a package",
    "golden": "golden data: read, and judged",
    "grpc": "gRPC as a transport, and the protocol's messages on it",
    "heads": "of HTTP/1.1, and of HTTP/2",
    "http": "the server's side, and the side of a source",
    "limits": "of a process, and of what a request may cost",
    "memory": "of a model, and of a process",
    "model": "what stages say of a model, and the model that serves",
    "pipeline": "the package, and its main class",
    "rollout": "in spec, what is decided, and in status",
    "routes": "of a model: observed, and what follows",
    "service": "of the server, and of gRPC on top of it",
    "serving": "in spec, and in status",
    "status": "its fields, and how they are filled",
    "store": "the requests, and the package that answers them",
    "transport": "of HTTP/1.1, and of HTTP/2",
    "values": "the frozen values of a package",
    **dict.fromkeys([*COMMANDS, "stages"], "a stage has a module of its name wherever it does something"),
}
"""Modules of one package, and packages."""


def modules(package: str) -> Iterator[Path]:
    yield from sorted((ROOT / package).rglob("*.py"))


def public_classes(path: Path) -> Iterator[str]:
    yield from (
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )


def twins(named: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {name: places for name, places in named.items() if len(places) > 1}


def test_a_class_has_a_name_of_its_own() -> None:
    found = defaultdict(list)
    for path in (path for package in PACKAGES for path in modules(package)):
        for name in public_classes(path):
            found[name].append(str(path.relative_to(ROOT)))
    assert len(found) > 200
    assert {name: places for name, places in twins(found).items() if name not in CLASSES} == {}
    assert set(CLASSES) - set(twins(found)) == set(), "of these there is only one now"


def module_twins(package: str) -> dict[str, list[str]]:
    found = defaultdict(list)
    for path in modules(package):
        if path.stem != "__main__":
            name = path.parent.name if path.stem == "__init__" else path.stem
            found[name].append(str(path.relative_to(ROOT / package)))
    assert len(found) > 10
    return twins(found)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_module_has_a_name_of_its_own(package: str) -> None:
    assert {name: places for name, places in module_twins(package).items() if name not in MODULES} == {}


def test_each_excused_module_has_a_twin() -> None:
    excused = set(MODULES) - {*COMMANDS}
    assert excused - {name for package in PACKAGES for name in module_twins(package)} == set()
