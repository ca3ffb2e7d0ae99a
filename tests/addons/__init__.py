"""The operator with real parts of the ecosystem: see CONTRIBUTING.md."""
