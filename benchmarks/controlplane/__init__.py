"""Measure the cost of the control plane: `python -m benchmarks.controlplane`."""
