"""Files that NVIDIA Triton needs to serve a model: its configuration, and the repository around it."""
