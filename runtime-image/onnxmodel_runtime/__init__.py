"""What runs in the Jobs and the server of an OnnxModel: fetch, validate, optimize, benchmark, serve, loadtest, probe."""

import os

# ONNX Runtime would tell its makers of each session, over HTTPS. Whoever wants that sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
