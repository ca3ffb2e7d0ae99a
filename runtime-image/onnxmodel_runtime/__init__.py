"""What runs in the Jobs and the server of an OnnxModel: fetch, validate, optimize, benchmark, serve, probe."""
