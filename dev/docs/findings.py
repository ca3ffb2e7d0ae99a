"""Renders docs/findings.md, every check with its meaning and fix, from the checks themselves."""

from textwrap import fill

from onnxmodel_runtime.checks import CHECKS, Check

_HEAD = """\
# Findings

<!-- Generated from runtime-image/onnxmodel_runtime/checks by `python -m dev.docs`. Do not edit. -->

What `onnxmodel validate` looks for. A finding names its check, how severe it is, the node or tensor, and what to do.

- An **error** refuses the model; with `validation.mode: Warn` it is reported and the model goes on. What cannot be read
  at all, or reads outside of its own folder, is refused in both modes.
- A **warning** is something to know about: it refuses nothing.
- An **info** asks for nothing yet.

The worst are in `status.findings`, all of them in the report beside the artifact (`<folder>.validate.json`) and in the
Job's log. A refused model's first error is `status.lastFailure`, under the reason below.

| check | severity | reason | field |
|---|---|---|---|
"""


def render() -> str:
    """The page."""
    checks = CHECKS.values()
    rows = [f"| [`{c.id}`](#{c.id.lower()}) | {c.severity} | `{c.reason}` | `{c.field}` |" for c in checks]
    return _HEAD + "\n".join(rows) + "\n" + "".join(_section(check) for check in checks)


def _section(check: Check) -> str:
    return f"\n## {check.id}\n\n{fill(check.meaning, 120)}\n\n{fill(f'**Fix:** {check.fix}', 120)}\n"
