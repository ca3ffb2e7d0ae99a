"""How `make test` shares the tests out to its workers (pytest-xdist)."""

from typing import Any

import pytest

WHOLE = ("tests/e2e/", "tests/integration/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker has all tests of the cluster, one those of the API server: their servers are there once. Else, a file is whole.

    Not --dist=loadgroup: it writes into a test's name where pytest 9.2 no longer looks.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByServer(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((folder for folder in WHOLE if nodeid.startswith(folder)), nodeid.partition("::")[0])

    return ByServer(config, log)
