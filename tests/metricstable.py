"""The operator's metrics as the documentation lists them, and as a page of /metrics has them."""

import re
from pathlib import Path

_PAGE = Path(__file__).parents[1] / "docs" / "install.md"


def documented_metrics() -> list[str]:
    """Names in the table of docs/install.md, in its order."""
    table = _PAGE.read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def shown_metrics(page: str) -> list[str]:
    """Names on a page of /metrics, sorted. One without a series yet is there, too."""
    return sorted(re.findall(r"^# TYPE (\w+) ", page, re.MULTILINE))
