"""What validate and optimize leave of the example models is as it was recorded, byte for byte.

So equal requests give equal bytes: in another folder, in another process, with another hash seed. Numbers that the CPU computes
(answers, and what is calibrated by them) are the same on processors of the same kind: they are compared only there.
"""

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from dev import magika
from tests.frozen import results, text

EXAMPLES = Path(__file__).parents[2] / "examples"
MODELS = {
    "toy": EXAMPLES / "toy" / "model.onnx",
    "digits": EXAMPLES / "digits" / "model.onnx",
    "magika": magika.model(),
}
VARIANTS = ["fp32", "fused", "fp16", "int8-dynamic", "int8-static", "ort"]
COMPUTED = ("int8-static", "probe.npz", "manifest.json", "parity", "golden", "calibration", ".max_", "cosine", "probe")
"""What lines have that depend on the processor."""


def run(stage: str, request: dict[str, object], folder: Path) -> dict[str, object]:
    """A Job's run. Returns its result."""
    command = [sys.executable, "-m", "onnxmodel_runtime", stage, "--request", json.dumps(request)]
    log = folder / f"{stage}.log"
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "ONNXMODEL_TERMINATION_LOG": str(log)}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcome: dict[str, object] = results.opened(log.read_text())["result"]
    return outcome


def processor() -> str:
    """What decides which kernels compute: vector instructions."""
    line = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    known = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    return " ".join(flag for flag in known if flag in line.split()) or "unknown"


@pytest.mark.parametrize("name", MODELS)
def test_what_is_made_of_an_example_is_as_recorded(name, tmp_path):
    source, out = tmp_path / "source", tmp_path / "optimize"
    source.mkdir()
    model = Path(shutil.copy(MODELS[name], source / "model.onnx"))
    recorded = MODELS[name].with_name("golden.npz")
    asked = {"model": str(model), "sha256": sha256(model.read_bytes()).hexdigest(), "directory": str(out)}
    asked |= {"variants": VARIANTS, "batch_sizes": [1, 3], "signer": "release@example.com"}
    (source / "source.json").write_text(
        f'{{"uri": "s3://models/{name}.onnx", "resolved": "s3://models/{name}.onnx?v=3"}}'
    )
    golden = name in ("toy", "digits")
    if golden:
        shutil.copy(recorded, source / ".golden.npz")
        shutil.copy(recorded, source / ".calibration.npz")
        asked |= {"golden": True, "calibration": {"method": "Entropy"}, "calibration_data": str(source)}
    tolerance = {"relative": 1e-3, "absolute": 1e-4, "cosine": 0.999} if golden else None
    validated = run("validate", {"directory": str(source), "golden": tolerance}, tmp_path)
    run("optimize", asked, tmp_path)
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != "report.json")
    digests = {str(path.relative_to(out)): sha256(path.read_bytes()).hexdigest() for path in files}
    lines = [f"{path} {digest}" for path, digest in digests.items()]
    manifest = json.loads((out / "manifest.json").read_text())
    assert str(tmp_path) not in json.dumps(manifest)
    told = {path: file["sha256"] for path, file in manifest.pop("files").items()}
    assert told == {path: digest for path, digest in digests.items() if path != "manifest.json"}
    lines += [f"validate {path}: {value}" for path, value in text.flat(validated)]
    lines += [f"manifest {path}: {value}" for path, value in text.flat(manifest)]
    whole = "\n".join([f"processor: {processor()}", *lines]).replace(str(tmp_path), "{folder}") + "\n"
    file = text.RECORDED / "variants" / f"{name}.txt"
    if file.exists() and not text.AGAIN:
        before = file.read_text().splitlines()
        if before[0] != whole.splitlines()[0]:
            calibrated = (
                f"variants[{n}].sha256" for n, v in enumerate(manifest["variants"]) if v["name"] == "int8-static"
            )
            computed = (*COMPUTED, *calibrated)
            kept = [line for line in whole.splitlines()[1:] if not any(word in line for word in computed)]
            assert kept == [line for line in before[1:] if not any(word in line for word in computed)]
            return
    text.compare(f"variants/{name}.txt", whole)
