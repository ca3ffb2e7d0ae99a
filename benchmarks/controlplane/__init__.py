"""What the control plane costs: `python -m benchmarks.controlplane`."""
