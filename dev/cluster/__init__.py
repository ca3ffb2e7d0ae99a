"""The local Kubernetes for demos and tests. See README.md beside this file."""
