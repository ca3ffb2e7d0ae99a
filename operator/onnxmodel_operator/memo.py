"""Arguments for `functools.lru_cache` that hold maps."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Named(Generic[T]):
    """A cache key: compared by name and parts, but hashed by name alone, because requests and settings hold maps."""

    name: str
    parts: T

    def __hash__(self) -> int:
        return hash(self.name)
