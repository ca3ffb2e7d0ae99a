"""The models of a suite: made by Triton's own scripts, and stand-ins for those that are not ONNX."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR = "13", 10


@dataclass(frozen=True)
class Model:
    """A file and how it is served."""

    path: Path
    max_batch_size: int
    options: dict[str, Any] = field(default_factory=dict)


def generated(qa: Path, script: str, into: Path, *arguments: str) -> dict[str, Model]:
    """What one of Triton's scripts makes, each model in its newest version."""
    into.mkdir(parents=True)
    kind = [] if "ort" in script else ["--onnx"]
    command = [sys.executable, script, *kind, "--onnx_opset", OPSET, "--models_dir", str(into), *arguments]
    subprocess.run(command, cwd=qa / "common", check=True, stdout=subprocess.DEVNULL)
    return {folder.name: _read(folder) for folder in sorted(into.iterdir()) if list(folder.glob("*/model.onnx"))}


def _read(folder: Path) -> Model:
    config = (folder / "config.pbtxt").read_text()
    found = re.search(r"max_batch_size: (\d+)", config)
    policy = re.search(r"specific { versions: \[(.+?)\]", config)
    versions = policy[1].split(",") if policy else [file.parent.name for file in folder.glob("*/model.onnx")]
    path = folder / str(max(map(int, versions))) / "model.onnx"
    labels = {}
    for block in re.findall(r"output \[(.*?)\n\]", config, re.DOTALL):
        if file := re.search(r'label_filename: "(.+?)"', block):
            name = re.search(r'name: "(.+?)"', block)
            assert name is not None
            labels[name[1]] = (folder / file[1]).read_text().split()
    model = onnx.load(path)
    model.ir_version = min(model.ir_version, IR)  # a newer onnx writes what ONNX Runtime does not read
    if labels:
        helper.set_model_props(model, {"labels": json.dumps(labels)})
    onnx.save(model, path)
    return Model(path, int(found[1]) if found else 0)


def stand_in(into: Path, name: str, inputs: dict[str, Any], output: Any, *, optional: tuple[str, ...] = ()) -> Model:
    """A model of this interface, whose output is its first input's, or the sum of all of them. inputs: datatype, shape."""
    given = [helper.make_tensor_value_info(key, *value) for key, value in inputs.items()]
    values = [numpy_helper.from_array(np.zeros(1, np.float32), key) for key in optional]
    if len(inputs) == 1:
        nodes = [helper.make_node("Identity", list(inputs), ["OUTPUT0"])]
    else:
        nodes = [
            helper.make_node("Concat", list(inputs), ["all"], axis=0),
            helper.make_node("ReduceSum", ["all"], ["OUTPUT0"]),
        ]
    graph = helper.make_graph(nodes, name, given, [helper.make_tensor_value_info("OUTPUT0", *output)], values)
    into.mkdir(parents=True, exist_ok=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=IR), into / f"{name}.onnx"
    )
    return Model(into / f"{name}.onnx", 0)


FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
