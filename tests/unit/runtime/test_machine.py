"""The machine, as a container sees it."""

from pathlib import Path

import pytest

from onnxmodel_runtime import machine


@pytest.mark.parametrize(
    ("file", "text", "cores"), [("cpu.max", "50000 100000", 0.5), ("cpu.max", "max 100000", None), ("none", "", None)]
)
def test_cores_of_the_container(tmp_path: Path, file: str, text: str, cores: float | None) -> None:
    (tmp_path / file).write_text(text)
    assert machine.cores(tmp_path) == (cores or machine.cores(Path("/nonexistent")))


def test_the_accelerator_is_named(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"000{number}").mkdir()
        (tmp_path / f"000{number}" / "information").write_text("Model: \t\t NVIDIA L4\nIRQ: 1\n")
    assert machine.accelerator(tmp_path) == "2 x NVIDIA L4"
    assert machine.accelerator(tmp_path / "none") == ""
