"""What of a request decides the result of its stage: each field says so, and the digest covers just that."""

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from typing import Any

import pytest

from onnxmodel_runtime.contract.codec import ContractError, as_data, dumps
from onnxmodel_runtime.contract.identity import Identity, Incidental, Part, identity_of, parts, recipe_of
from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.stages import COMMANDS, STAGES

REQUESTS = [command.request for command in COMMANDS.values()]


def inside(kind: Any) -> set[Any]:
    """The dataclasses that a type holds, itself included."""
    if not dataclasses.is_dataclass(kind):
        return set().union(*map(inside, typing.get_args(kind)))
    return {kind}.union(*(inside(hint) for hint in typing.get_type_hints(kind).values()))


def sample(kind: Any) -> Any:
    """A value of a type that is not the default of any field."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return sample(args[0])
    if origin is tuple:
        return (sample(args[0]),)
    if origin is dict:
        return {"a key": sample(args[1])}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return kind(**{name: sample(hint) for name, hint in typing.get_type_hints(kind).items()})
    return {str: "a value", int: 7, float: 0.7, bool: True}[kind]


def changes(value: Any) -> Any:
    """Every value that differs from this one in one place, with the fields down to that place."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            for path, changed in changes(getattr(value, field.name)):
                yield ((type(value), field.name), *path), dataclasses.replace(value, **{field.name: changed})
    elif isinstance(value, tuple):
        yield (), ()
        yield from ((path, (changed,)) for path, changed in changes(value[0]))
    elif isinstance(value, dict):
        yield (), {}
        yield from ((path, {"a key": changed}) for path, changed in changes(value["a key"]))
    else:
        yield (), {"a value": "another", 7: 8, 0.7: 0.8, True: False}[value]


@pytest.mark.parametrize("kind", sorted(set().union(*map(inside, REQUESTS)), key=str))
def test_every_field_of_a_request_declares_its_part(kind: type) -> None:
    assert {name: part for name, (part, _) in parts(kind).items()}.keys() == {f.name for f in dataclasses.fields(kind)}


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.__name__)
def test_the_identity_changes_with_a_field_just_where_that_is_declared(kind: type) -> None:
    request = sample(kind)
    before = json.dumps(identity_of(request))
    seen = set()
    for path, changed in changes(request):
        incidental = any(parts(owner)[name][0] is Part.INCIDENTAL for owner, name in path)
        assert dumps(changed) != dumps(request), path
        assert (json.dumps(identity_of(changed)) == before) is incidental, path
        seen.add(path[0][1])
    assert seen == {field.name for field in dataclasses.fields(kind)}


def test_the_identity_is_the_request_with_its_defaults_for_what_is_incidental() -> None:
    request = OptimizeRequest("/m", "0" * 64, "/out", max_batch_size=32)
    assert identity_of(request) == as_data(dataclasses.replace(request, directory="", max_batch_size=0))


def test_what_says_nothing_of_its_part_has_no_identity() -> None:
    @dataclass(frozen=True)
    class Inner:
        of: int

    @dataclass(frozen=True)
    class Outer:
        said: Identity[int]
        inner: Identity[tuple[Inner, ...]]

    @dataclass(frozen=True)
    class Twice:
        said: Identity[Incidental[int]]

    with pytest.raises(ContractError, match=r"Inner\.of must be Identity, Input or Incidental"):
        identity_of(Outer(1, (Inner(1),)))
    with pytest.raises(ContractError, match=r"Twice\.said must be"):
        identity_of(Twice(1))


def test_a_recipe_names_neither_input_nor_place() -> None:
    request = OptimizeRequest("/m", "0" * 64, "/out", variants=("fp16",))
    left_out = {"model", "sha256", "data_sha256", "directory", "signer", "max_batch_size", "calibration_data"}
    assert recipe_of(request) == {key: value for key, value in as_data(request).items() if key not in left_out}


@pytest.mark.parametrize("spec", [spec for spec in STAGES.values() if spec.directory], ids=lambda spec: spec.name)
def test_the_folder_that_a_digest_names_is_not_in_the_digest(spec: Any) -> None:
    assert parts(spec.request)["directory"][0] is Part.INCIDENTAL
