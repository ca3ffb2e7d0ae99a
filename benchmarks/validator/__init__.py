"""The validator on every model of the onnx package's backend tests: what passes, what does not and why, and how long."""
