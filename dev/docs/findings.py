"""Renders docs/findings.md, every check with its meaning and fix, from the checks themselves."""

from textwrap import fill

from onnxmodel_runtime.checks import CHECKS, Check

_HEAD = """\
# Findings

<!-- Generated from runtime-image/onnxmodel_runtime/checks by `python -m dev.docs`. Do not edit. -->

These are the checks of `onnxmodel validate`. A finding has the id of its check, a severity, the node or tensor, and a
fix.

- An **error** refuses the model. With `validation.mode: Warn` it is only reported. A model that cannot be read at all,
  or that reads files outside of its own folder, is refused in both modes.
- A **warning** needs attention, but refuses nothing.
- An **info** needs no action.

The most severe findings are in `status.findings`. The report beside the artifact (`<folder>.validate.json`) and the
Job's log have all of them. The first error of a refused model is in `status.lastFailure`, with the reason below.

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
