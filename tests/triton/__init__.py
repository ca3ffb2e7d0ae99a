"""A real tritonserver for the tests, without NVIDIA's image: install.py has it, server.py runs it."""
