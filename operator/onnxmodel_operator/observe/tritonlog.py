"""Reasons for which Triton did not start, from the end of its log: worded as in its repository index. Pure.

Triton exits when its model cannot be loaded (--exit-on-error), and its container leaves the log's last 2,048 bytes as
the termination message. So it is started with --log-info=false: the tables that it prints at the end would fill all of
that.
"""

import json
import re

from onnxmodel_runtime.contract.outcome import Failure

_LOAD = re.compile(r"failed to load '[^']+' version \d+: (?P<reason>.+)", re.DOTALL)
_POLL = re.compile(r"Poll failed for model directory '[^']+': (?P<reason>.+)", re.DOTALL)
_START = re.compile(r"(?:creating server|failed to start \w+ service): (?P<reason>.+)", re.DOTALL | re.IGNORECASE)
_QUOTED = re.compile(r'\] ("(?:[^"\\]|\\.)*")$')
_STATUS = re.compile(r"^(Internal|Invalid argument|Not found|Unavailable|Unsupported|Unknown|Already exists)(: | - )")
# A backend in Python says of which class the error is, and where it was raised.
_PYTHON = re.compile(r"^TritonModelException: |\n\s*At:\n.*", re.DOTALL)
# What may be otherwise next time: a GPU, memory and a port are shared with others.
_PASSES = re.compile(r"memory|bad_alloc|failed to allocate|cuda|cudnn|in use|\btime", re.IGNORECASE)
_LOAD_HINT = (
    "The model was verified with the ONNX Runtime of the runtime image, and Triton has its own: use "
    "a Triton release with a newer one (runtimeImages.triton in the chart's values), other "
    "spec.optimization.variants, or spec.serving.runtime: onnxruntime."
)
_START_HINT = "The log of the pod's container server has the complete startup output."


def failure(log: str) -> tuple[Failure, bool] | None:
    """Return why Triton did not start, and whether another start would fail alike. None if the log names no reason."""
    said = [_words(line) for line in log.splitlines()]
    if why := _last(_LOAD, said) or _last(_POLL, said):
        message = f"Triton cannot load the model: {why}"[:1024]
        return Failure("TritonLoadFailed", message, _LOAD_HINT), not _PASSES.search(why)
    if why := _last(_START, said):
        return Failure("TritonNotStarted", f"Triton cannot start: {why}"[:1024], _START_HINT), False
    return None


def _last(pattern: re.Pattern[str], said: list[str]) -> str:
    """The reason in the last line that has one, without the kind of error before it and a traceback behind it."""
    found = [match["reason"] for line in said if (match := pattern.search(line))]
    return " ".join(_PYTHON.sub("", _STATUS.sub("", found[-1])).split()) if found else ""


def _words(line: str) -> str:
    """The message of a line of the log. Newer releases write it as a string of JSON."""
    quoted = _QUOTED.search(line)
    if quoted is None:
        return line
    try:
        return str(json.loads(quoted[1]))
    except ValueError:
        return quoted[1].strip('"')
