"""Google's magika, out of its PyPI package: the real model of the demo, the benchmarks and the tests.

`python -m dev.magika` prints the path of the model.
"""

from importlib.metadata import files
from pathlib import Path


def file(name: str) -> Path:
    """Path of a file that is published with the model."""
    found = next(path for path in files("magika") or () if path.match(f"models/standard_v3_3/{name}"))
    return Path(str(found.locate()))


def model() -> Path:
    """Path of the model: byte sequences in, 214 file types out, opset 15, 95 nodes, 3 MB."""
    return file("model.onnx")


if __name__ == "__main__":
    print(model())
