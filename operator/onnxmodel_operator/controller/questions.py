"""Ask Prometheus what the gates of the canaries want to know."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn

from onnxmodel_operator.cluster.cache import Key
from onnxmodel_operator.controller.telemetry import Telemetry
from onnxmodel_operator.live.ask import asker
from onnxmodel_operator.live.query import QueryResult, Question

_AGAIN_SECONDS = 30.0
"""Prometheus itself reads metrics about as often."""
_TICK_SECONDS = 1.0


class Questions:
    """The questions of all models. A canary looks at the answers in its own turns."""

    def __init__(self, telemetry: Telemetry, address: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """address: the URL of Prometheus."""
        self._telemetry, self._address, self._clock = telemetry, address, clock
        self._asked: dict[Key, tuple[str, float]] = {}  # what the last question was about, and when

    async def run(self) -> NoReturn:
        """Ask forever."""
        async with asker(self._address) as source:
            while True:
                await self.round(source.ask)
                await asyncio.sleep(_TICK_SECONDS)

    async def round(self, ask: Callable[[str], Awaitable[QueryResult]]) -> None:
        """Ask the questions that are new, or were answered long ago, and forget the answers to those that are no more."""
        questions, now = dict(self._telemetry.questions), self._clock()
        for gone in self._telemetry.answers.keys() - questions.keys():
            del self._telemetry.answers[gone]
        self._asked = {key: asked for key, asked in self._asked.items() if key in questions}
        due = [(key, question) for key, question in questions.items() if self._is_due(key, question, now)]
        self._asked |= {key: (question.about, now) for key, question in due}
        answers = await asyncio.gather(*(ask(question.query) for _, question in due))
        for (key, question), answer in zip(due, answers, strict=True):
            self._telemetry.answers[key] = question, answer

    def _is_due(self, key: Key, question: Question, now: float) -> bool:
        about, at = self._asked.get(key, ("", 0.0))
        return about != question.about or now - at >= _AGAIN_SECONDS
