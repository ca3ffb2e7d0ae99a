"""The code of an OnnxModel's Jobs and server: fetch, validate, optimize, benchmark, serve, loadtest, probe."""

import os

# ONNX Runtime would tell its makers of each session, over HTTPS. Whoever wants that sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
