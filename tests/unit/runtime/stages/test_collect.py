import json

from onnxmodel_runtime.__main__ import main
from onnxmodel_runtime.contract.codec import dumps
from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.outcome import ExitCode
from onnxmodel_runtime.stages.collect import collect

KEPT, OLD = "a" * 16, "b" * 16


def volume(root):
    """Artifacts of two specs, and what is no artifact."""
    for place in ("source", "calibration", "optimize", "benchmark"):
        for name in (KEPT, OLD):
            (root / place / name / "fp32").mkdir(parents=True)
            (root / place / name / "fp32" / "model.onnx").write_text("model")
            (root / place / f"{name}.validate.json").write_text("{}")
    (root / "engines" / OLD).mkdir(parents=True)
    (root / "lost+found").mkdir()


def test_what_is_kept_stays_with_what_stands_beside_it_and_the_rest_goes(tmp_path):
    volume(tmp_path)
    removed = collect(tmp_path, [f"{place}/{KEPT}" for place in ("source", "optimize", "benchmark")])
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")}
    beside = {f"{place}/{KEPT}{end}" for place in ("source", "optimize", "benchmark") for end in ("", ".validate.json")}
    assert left == {*beside, f"engines/{OLD}"}
    assert len(removed) == 10
    assert (tmp_path / "optimize" / KEPT / "fp32" / "model.onnx").exists()


def test_a_link_is_removed_and_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / OLD).symlink_to(outside)
    collect(tmp_path, ["source/none"])
    assert not (tmp_path / "source" / OLD).is_symlink()
    assert (outside / "file").exists()


def test_a_stage_makes_room_before_it_begins(tmp_path, monkeypatch):
    """Also where the stage itself fails: here there is no model."""
    volume(tmp_path)
    monkeypatch.setenv("ONNXMODEL_TERMINATION_LOG", str(tmp_path / "termination"))
    request = OptimizeRequest(str(tmp_path / "model.onnx"), "0" * 64, str(tmp_path / "optimize" / ("c" * 16)))
    arguments = ["optimize", "--request", dumps(request), "--keep", f"optimize/{KEPT},source/{KEPT}"]
    assert main(arguments) != ExitCode.OK
    assert not (tmp_path / "optimize" / OLD).exists()
    assert (tmp_path / "optimize" / KEPT).exists()
    assert json.loads((tmp_path / "source" / f"{KEPT}.validate.json").read_text()) == {}
