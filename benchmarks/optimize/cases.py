"""The models, each in a folder of its own as fetch leaves it: the model, golden data where there are, calibration data."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.optimize.weights import with_weights
from benchmarks.validator.cases import cases as package_cases
from dev import magika
from onnxmodel_runtime.contract.volume import CALIBRATION_FOLDER, GOLDEN_FILE, MODEL_FILE
from onnxmodel_runtime.models.inputs import Arrays, generate, signature

EXAMPLES = Path(__file__).parents[2] / "examples"
HUGE = ("light_bvlc_alexnet", "light_vgg19", "light_zfnet512")  # hundreds of megabytes, once for each variant
NAMES = (
    "magika",
    "toy",
    "digits",
    *("light_densenet121", "light_inception_v1", "light_inception_v2", "light_resnet50"),
    *("light_shufflenet", "light_squeezenet"),
    *HUGE,
)
DEFAULT = tuple(name for name in NAMES if name not in HUGE)
CALIBRATION_ROWS = 16


@dataclass(frozen=True)
class Case:
    """A model at `folder`/model.onnx. golden: whether the original framework's answers lie beside it."""

    name: str
    folder: Path
    golden: bool

    @property
    def model(self) -> Path:
        """The file."""
        return self.folder / MODEL_FILE

    @property
    def calibration(self) -> Path:
        """Rows to calibrate with, as folders of one row each: that fits models of one batch size too."""
        return self.folder / CALIBRATION_FOLDER


def cases(work: Path, names: tuple[str, ...] = DEFAULT) -> Iterator[Case]:
    """The models of these names, put below `work` one after the other."""
    for name in names:
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        golden = EXAMPLES / name / "golden.npz"
        if name == "magika":
            shutil.copy(magika.model(), folder / MODEL_FILE)
        elif golden.is_file():
            shutil.copy(EXAMPLES / name / MODEL_FILE, folder / MODEL_FILE)
            shutil.copy(golden, folder / GOLDEN_FILE)
        else:
            (found,) = package_cases(work, ("light",), (name,))
            onnx.save(with_weights(onnx.load(found.model)), folder / MODEL_FILE)
        case = Case(name, folder, golden.is_file())
        _calibrate(case)
        yield case


def golden_inputs(case: Case) -> Arrays:
    """The inputs of the golden data."""
    arrays = np.load(case.folder / GOLDEN_FILE)
    return {key.removeprefix("input:"): arrays[key] for key in arrays if key.startswith("input:")}


def _calibrate(case: Case) -> None:
    """The golden inputs; else rows that are made as parity's are, and are not parity's."""
    signed = signature(onnx.load(case.model))
    names = [tensor.name for tensor in signed.inputs]
    if case.golden:
        rows = golden_inputs(case)
    elif not signed.unbatched:
        rows = {name: array[::-1] for name, array in generate(signed, CALIBRATION_ROWS).items()}
    else:
        random = np.random.default_rng(3)
        shapes = {tensor.name: (CALIBRATION_ROWS, *tensor.shape[1:]) for tensor in signed.inputs}
        rows = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    for row in range(CALIBRATION_ROWS):
        folder = case.calibration / f"test_data_set_{row}"
        folder.mkdir(parents=True, exist_ok=True)
        for index, name in enumerate(names):
            tensor = numpy_helper.from_array(rows[name][row : row + 1], name)
            (folder / f"input_{index}.pb").write_bytes(tensor.SerializeToString())
