"""What a run found, as a table for docs/benchmarks/faults.md."""

import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

_MARK = "<!-- The figures of the last run follow: make test-faults writes them. -->\n"
_NAME = re.compile(r"\[(?P<fault>[a-z0-9-]+?)(-(create|refusal|update|rollback|scale|failure|again|delete)-\w+)?\]$")


def write(page: Path, reports: Iterable[pytest.TestReport]) -> None:
    """Replace the figures of a page."""
    text = page.read_text()
    before = text[: text.index(_MARK)] + _MARK
    page.write_text(before + table(list(reports)))


def table(reports: list[pytest.TestReport]) -> str:
    """By fault: how many ends were compared, how many were others, and how long the lives took."""
    faults: dict[str, list[pytest.TestReport]] = {}
    for report in reports:
        faults.setdefault(fault_of(report.nodeid), []).append(report)
    rows = []
    for fault, found in faults.items():
        calls = [report for report in found if report.when == "call"]
        bad = [report for report in found if report.failed]
        rows.append(f"| {fault} | {len(calls)} | {len(bad)} | {max(report.duration for report in found):.0f} |")
    calls = [report for report in reports if report.when == "call"]
    bad = [report for report in reports if report.failed]
    said = dict.fromkeys(str(value) for report in calls for name, value in report.user_properties if name == "figure")
    return (
        f"\n{datetime.now(UTC):%Y-%m-%d}: {len(faults)} faults, {len(calls)} checks, {len(bad)} violations.\n"
        + "".join(f"{line}\n" for line in said)
        + "\n| fault | checks | violations | seconds |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def fault_of(nodeid: str) -> str:
    """The fault that a test is about, or the name of its file."""
    if "test_matrix" in nodeid and (found := _NAME.search(nodeid)):
        return found["fault"]
    name = Path(nodeid.partition("::")[0]).stem.removeprefix("test_")
    return f"{name}: {os.environ.get('ONNXMODEL_SEQUENCES', '100')}" if name == "sequences" else name
