"""Read and write times as Kubernetes does."""

from datetime import datetime


def parse_time(text: str | None) -> datetime | None:
    """Parse a Kubernetes time. None if there is none."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def format_time(moment: datetime) -> str:
    """Format a UTC time in whole seconds: "2026-01-01T00:00:00Z"."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
