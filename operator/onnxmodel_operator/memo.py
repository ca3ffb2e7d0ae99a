"""Arguments for `functools.lru_cache` that hold maps."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Named(Generic[T]):
    """What something is made from. Compared whole, and hashed by its name alone, for requests and settings hold maps."""

    name: str
    parts: T

    def __hash__(self) -> int:
        return hash(self.name)
