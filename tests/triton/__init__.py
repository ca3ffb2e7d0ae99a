"""A real tritonserver for the tests, without NVIDIA's image (README.md)."""
