"""Runs a file of unittest tests, and writes what went wrong with each as JSON. It stands alone: Triton's files import by name."""

import importlib
import json
import sys
import unittest
from pathlib import Path


def main(file: str, report: str, *never: str) -> None:
    """The file's tests but for those whose Class::name is in never."""
    sys.path.insert(0, ".")
    suite = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(Path(file).stem))
    tests = {name(test): test for group in suite for test in group if name(test) not in never}  # type: ignore[union-attr]
    found = dict.fromkeys(tests, "")
    result = unittest.TestResult()
    for test in tests.values():
        test(result)
    for test, trace in result.failures + result.errors:
        found[name(getattr(test, "test_case", test))] = trace.strip().splitlines()[-1]
    found |= {name(test): f"skipped: {reason}" for test, reason in result.skipped}
    Path(report).write_text(json.dumps(found))


def name(test: object) -> str:
    """Class::method."""
    return f"{type(test).__name__}::{getattr(test, '_testMethodName', '')}"


main(*sys.argv[1:])
