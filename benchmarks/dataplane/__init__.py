"""What the server costs, next to in-process ONNX Runtime and to other servers of the same protocol."""
