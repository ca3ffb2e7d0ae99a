"""Measure the cost of the server, next to in-process ONNX Runtime and to other servers of the same protocol."""
