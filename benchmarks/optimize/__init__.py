"""The optimizer on real models: our variants and choice next to plain ONNX Runtime and Olive, in the same run."""
