"""pydantic's errors as (field, message) in the words of the API: camelCase paths, as in the manifest."""

from pydantic import ValidationError


def field_errors(error: ValidationError) -> list[tuple[str, str]]:
    """One pair for each error, in the order of the fields."""
    return [(_path(item["loc"]), item["msg"].removeprefix("Value error, ")) for item in error.errors(include_url=False)]


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
