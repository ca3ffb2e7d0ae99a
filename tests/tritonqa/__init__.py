"""Triton's own qa suites, against this project's server: `make triton-qa TRITON=path/to/checkout`."""
