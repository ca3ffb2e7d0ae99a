"""How `make test` and `make test-faults` share the tests out to their workers (pytest-xdist)."""

from typing import Any

import pytest

from tests.faults.figures import fault_of

WHOLE = ("tests/e2e/", "tests/integration/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker has all tests of the cluster, one those of the API server: their servers are there once. A fault is whole.
    Else, a file is.

    Not --dist=loadgroup: it writes into a test's name where pytest 9.2 no longer looks.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByServer(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith("tests/faults/"):
                return fault_of(nodeid)
            return next((folder for folder in WHOLE if nodeid.startswith(folder)), nodeid.partition("::")[0])

    return ByServer(config, log)
