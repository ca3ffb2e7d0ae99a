"""What tests share that write bytes to a server."""

from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from onnxmodel_runtime.server import limits, listener
from onnxmodel_runtime.server.main import Server
from onnxmodel_runtime.server.model import Instance
from tests.unit.runtime import server_support as support


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that ends connections soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listener, "SWEEP_SECONDS", 0.05)
        with support.in_thread(
            support.request(support.double(tmp_path_factory.mktemp("models"), "columns"))
        ) as running:
            yield running


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each execution."""
    seen: list[int] = []
    run = Instance.run

    def counted(self: Instance, *arguments: Any) -> Any:
        seen.append(1)
        return run(self, *arguments)

    monkeypatch.setattr(Instance, "run", counted)
    return seen


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Executions wait for it."""
    event, run = Event(), Instance.run

    def held(self: Instance, *arguments: Any) -> Any:
        event.wait(60)
        return run(self, *arguments)

    monkeypatch.setattr(limits, "INLINE_NS", 0)
    monkeypatch.setattr(Instance, "run", held)
    yield event
    event.set()
