"""Olive's passes on one model, in Olive's own virtual environment: `python olive_worker.py REQUEST`, a JSON file.

Olive imports torch wherever it is imported, and calls nothing of it for passes over ONNX models. PyPI's torch brings
gigabytes of CUDA, so that a stand-in answers these imports. This file imports nothing of the project, for it is not there.
"""

import importlib.abc
import importlib.machinery
import json
import shutil
import sys
import tempfile
import types
from pathlib import Path
from typing import Any


class _Anything(type):
    """A class of which every attribute is another one: enough for base classes, decorators and annotations."""

    def __getattr__(cls, name: str) -> Any:
        return _anything(name)


def _anything(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    called = {"__init__": lambda *_, **__: None, "__call__": lambda _, wrapped=None, *__, **___: wrapped}
    return _Anything(name, (), called)


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        known = name.partition(".")[0] in ("torch", "torchmetrics")
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if known else None

    def create_module(self, spec: Any) -> Any:
        module = types.ModuleType(spec.name)
        module.__getattr__ = _anything  # type: ignore[method-assign]
        return module

    def exec_module(self, module: Any) -> None:
        pass


def main(request: Any) -> None:
    """request: model, directory, calibration (ONNX's test_data_set_* folders), passes (name -> Olive's passes).

    Writes directory/name/model.onnx for each, and directory/olive.json: name -> why there is none, or "".
    """
    import transformers  # noqa: F401  # before the stand-in: it asks whether torch is there, and which one

    sys.meta_path.append(_StandIn())
    results = {name: _run(request, name, passes) for name, passes in request["passes"].items()}
    Path(request["directory"], "olive.json").write_text(json.dumps(results))


def _run(request: Any, name: str, passes: list[dict[str, Any]]) -> str:
    """Write the variant to directory/name/model.onnx; why there is none, or ""."""
    from olive.workflows import run

    target = Path(request["directory"]) / name
    with tempfile.TemporaryDirectory() as work:
        config = {
            "input_model": {"type": "OnnxModel", "model_path": request["model"]},
            "systems": {"here": {"type": "LocalSystem", "accelerators": [_CPU]}},
            "host": "here",
            "target": "here",
            "passes": {str(number): item for number, item in enumerate(passes)},
            "data_configs": [_data(request["calibration"])],
            "output_dir": f"{work}/out",
            "cache_dir": f"{work}/cache",
            "log_severity_level": 3,
        }
        try:
            run(config)
            target.mkdir(parents=True, exist_ok=True)
            for file in (path for path in Path(work, "out").iterdir() if ".onnx" in path.name):
                shutil.move(file, target / file.name)
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:300]}"
    return "" if (target / "model.onnx").is_file() else "Olive wrote no model"


_CPU = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}


def _data(calibration: str) -> dict[str, Any]:
    """The calibration rows, one at a time, through Olive's own registry: its usual loader is torch's."""
    from olive.data.registry import Registry
    from onnx import TensorProto, numpy_helper

    @Registry.register_dataset("rows")  # type: ignore[untyped-decorator]  # Olive is in an environment of its own
    def dataset(**_: Any) -> list[tuple[dict[str, Any], int]]:
        rows = []
        for folder in sorted(Path(calibration).iterdir()):
            tensors = [TensorProto.FromString(path.read_bytes()) for path in sorted(folder.glob("input_*.pb"))]
            rows.append(({tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}, 0))
        return rows

    @Registry.register_dataloader("rows")  # type: ignore[untyped-decorator]
    def loader(dataset: Any, **_: Any) -> Any:
        return dataset

    return {
        "name": "rows",
        "load_dataset_config": {"type": "rows"},
        "pre_process_data_config": {"type": "skip_pre_process"},
        "dataloader_config": {"type": "rows"},
    }


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
