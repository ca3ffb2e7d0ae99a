"""A cluster in memory whose operator is killed before and after every single write."""

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.builders import Cluster


class Crashing(Cluster):
    """A cluster that knows its state before and after each write. `settle` goes on from each, without the operator's memory."""

    points = 0

    def __init__(self, *models: dict[str, Any]) -> None:
        self.moments: list[Cluster] = []
        super().__init__(*models)

    @contextmanager
    def _write(self, verb: str, key: tuple[str, str, str]) -> Iterator[None]:
        self._remember()
        with super()._write(verb, key):
            yield
        self._remember()

    def _remember(self) -> None:
        self.points += 1
        if self.moments and self.moments[-1].objects == self.objects:
            return  # before a write all is as it was after the one before
        now = Cluster(platform=self.settings)
        now.objects, now.events, now.now = dict(self.objects), list(self.events), self.now
        now._made, now._versions = self._made.copy(), itertools.count(1_000_000)
        self.moments.append(now)

    def settle(self, name: str = "magika", *, most: int = 10) -> list[tuple[str, str, str]]:
        self.moments.clear()
        written = super().settle(name, most=most)
        for number, crashed in enumerate(self.moments):
            crashed.settle(name)
            after = f"point {number} of {written}"
            assert _state(crashed) == _state(self), after
            assert _made(crashed) == _made(self), f"a Job ran twice after {after}"
        return written


def _state(cluster: Cluster) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {
        key: {**item, "metadata": {k: v for k, v in item["metadata"].items() if k != "resourceVersion"}}
        for key, item in cluster.objects.items()
    }


def _made(cluster: Cluster) -> Counter[tuple[str, str, str]]:
    return Counter({key: count for key, count in cluster._made.items() if key[0] == "Job"})
