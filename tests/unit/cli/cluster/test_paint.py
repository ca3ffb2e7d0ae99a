"""Colors are for terminals, and for nobody who has set NO_COLOR."""

import sys

import pytest

from onnxmodel_cli.cluster.paint import paint


@pytest.mark.parametrize(
    ("terminal", "environment", "shown"),
    [
        (True, {}, "\033[31mbad\033[0m"),
        (True, {"NO_COLOR": ""}, "\033[31mbad\033[0m"),
        (True, {"NO_COLOR": "1"}, "bad"),
        (True, {"TERM": "dumb"}, "bad"),
        (False, {}, "bad"),
    ],
)
def test_colors(terminal, environment, shown, monkeypatch):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert paint("red", "bad") == shown
    assert paint("", "bad") == "bad"
