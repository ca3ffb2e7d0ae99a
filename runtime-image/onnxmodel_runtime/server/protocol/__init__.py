"""The Open Inference Protocol as pure functions: bytes in, bytes out, no I/O and no clock."""
