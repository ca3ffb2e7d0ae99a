"""The models of the onnx package's backend tests, as files.

The kinds simple, light and pytorch-* lie in the package. The node tests are made by its code, one model for each example
in the operators' documentation. Of the kind real the package ships addresses only; light has the same graphs.
"""

import json
import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
KINDS = ("node", "simple", "light", "pytorch-operator", "pytorch-converted")


@dataclass(frozen=True)
class Case:
    """A model. data_set: a folder of input_N.pb and output_N.pb with the answers that are right; None where there is none.

    relative, absolute: the tolerance that the test itself has.
    """

    kind: str
    name: str
    model: Path
    data_set: Path | None = None
    relative: float = 1e-3
    absolute: float = 1e-7


def cases(work: Path, kinds: Iterable[str] = KINDS, only: Collection[str] = ()) -> Iterator[Case]:
    """The models of these kinds, of these names where some are given. `work`: where those go that are no files yet."""
    for kind in kinds:
        found = _generated(work / kind, only) if kind == "node" else _shipped(kind)
        yield from (case for case in found if not only or case.name in only)


def only_addresses() -> list[str]:
    """The tests of which the package has an address and no model."""
    return sorted(path.parent.name for path in DATA.glob("*/*/data.json") if not (path.parent / "model.onnx").is_file())


def _shipped(kind: str) -> Iterator[Case]:
    for model in sorted((DATA / kind).rglob("*.onnx")):
        alone = model.name != "model.onnx"  # light_*.onnx lie together, with outputs for inputs that are not shipped
        data_set = model.parent / "test_data_set_0"
        options = model.parent / "data.json"
        tolerance = json.loads(options.read_text()) if options.is_file() and not alone else {}
        yield Case(
            kind,
            model.stem if alone else model.parent.name,
            model,
            data_set if data_set.is_dir() and not alone else None,
            tolerance.get("rtol", 1e-3),
            tolerance.get("atol", 1e-7),
        )


def _generated(folder: Path, only: Collection[str]) -> Iterator[Case]:
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the examples divide by zero on purpose
        examples = load_model_tests(kind="node")
    for case in sorted(examples, key=lambda case: str(case.name)):
        if only and case.name not in only:
            continue
        model = folder / case.name / "model.onnx"
        data_set = model.parent / "test_data_set_0"
        if not model.is_file():
            data_set.mkdir(parents=True, exist_ok=True)
            inputs, outputs = case.data_sets[0]
            _write(data_set, "input", inputs, case.model.graph.input)
            _write(data_set, "output", outputs, case.model.graph.output)
            model.write_bytes(case.model.SerializeToString())
        yield Case("node", case.name, model, data_set, case.rtol, case.atol)


def _write(data_set: Path, side: str, values: Any, described: Any) -> None:
    """Values in the form that the package's own tests have on disk: protobufs of the type that the graph says."""
    for index, (value, info) in enumerate(zip(values, described, strict=False)):
        if info.type.HasField("sequence_type"):
            proto = numpy_helper.from_list(value, info.name)
        elif info.type.HasField("optional_type"):
            proto = numpy_helper.from_optional(value, info.name)
        elif isinstance(value, onnx.TensorProto):
            proto = value
        else:
            proto = numpy_helper.from_array(value, info.name)
        (data_set / f"{side}_{index}.pb").write_bytes(proto.SerializeToString())
