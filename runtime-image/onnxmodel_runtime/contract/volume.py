"""Names of folders and files on a model's volume, which every stage mounts at ARTIFACTS."""

ARTIFACTS = "/artifacts"  # where every stage finds the model's volume
SOURCE_FOLDER = "source"  # at its top, beside a folder for each stage: what was fetched, by digest
CALIBRATION_DATA_FOLDER = "calibration"  # the same, of calibration data
ENGINE_CACHE_FOLDER = "engines"  # what TensorRT compiled for Triton: it outlives the pod
MODEL_FILE = "model.onnx"
PROBE_FILE = "probe.npz"
SOURCE_FILE = "source.json"  # what was fetched, with the digest of each file
SIGNATURE_FILE = ".signature"  # in the model's directory, as the two below: no part of the model
GOLDEN_FILE = ".golden.npz"
GOLDEN_FOLDER = ".golden"
CALIBRATION_FILE = ".calibration.npz"  # as golden data is kept; inputs alone
CALIBRATION_FOLDER = ".calibration"
OUR_FILES = frozenset(
    (SOURCE_FILE, SIGNATURE_FILE, GOLDEN_FILE, GOLDEN_FOLDER, CALIBRATION_FILE, CALIBRATION_FOLDER)
)  # in the model's directory, and no part of the model
MANIFEST_FILE = "manifest.json"  # beside the variants: what they are made of, and every digest
REPORT_FILE = "report.json"
BENCHMARK_FILE = "benchmark.json"
REPORT_PAGE = "report.html"
