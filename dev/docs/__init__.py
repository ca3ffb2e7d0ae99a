"""Writes the pages of docs/ that are generated: `python -m dev.docs`. tests/unit/test_docs.py fails when one is old."""
