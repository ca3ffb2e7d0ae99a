"""Names of folders and files on a model's volume, which every stage mounts at ARTIFACTS."""

ARTIFACTS = "/artifacts"  # where each container mounts the model's volume
SOURCE_FOLDER = "source"  # fetched models by digest, beside a folder for each stage
CALIBRATION_DATA_FOLDER = "calibration"  # fetched calibration data by digest
ENGINE_CACHE_FOLDER = "engines"  # TensorRT's engines for Triton, which outlive its pod
REPOSITORY_FOLDER = "triton"  # Triton's repositories, where `onnxmodel run` is the cluster
STATUS_FILE = "status.yaml"  # likewise, the status that the resource would have
MODEL_FILE = "model.onnx"
PROBE_FILE = "probe.npz"
SOURCE_FILE = "source.json"  # what was fetched, with the digest of each file
SIGNATURE_FILE = ".signature"  # beside the model, like the golden and calibration data below
GOLDEN_FILE = ".golden.npz"
GOLDEN_FOLDER = ".golden"
CALIBRATION_FILE = ".calibration.npz"  # inputs only
CALIBRATION_FOLDER = ".calibration"
OUR_FILES = frozenset(
    (SOURCE_FILE, SIGNATURE_FILE, GOLDEN_FILE, GOLDEN_FOLDER, CALIBRATION_FILE, CALIBRATION_FOLDER)
)  # in the model's directory, but not part of the model
MANIFEST_FILE = "manifest.json"  # beside the variants: how they were made, and the digest of each file
REPORT_FILE = "report.json"
BENCHMARK_FILE = "benchmark.json"
REPORT_PAGE = "report.html"
