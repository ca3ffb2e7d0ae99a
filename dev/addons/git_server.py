"""A Git server on the loopback address of the cluster's network, for GitOps controllers."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dev.addons.process import AddOn
from dev.cluster.artifacts import remove
from dev.cluster.shell import run
from dev.kube import until

PORT = 19510
URL = f"http://127.0.0.1:{PORT}/platform.git"
BRANCH = "main"
_SERVER = Path(__file__).with_name("git_http.py")
_AUTHOR = ("-c", "user.name=platform", "-c", "user.email=platform@example.com")


class Repository:
    """The repository that is served, and a clone of it to work in."""

    def __init__(self, folder: Path) -> None:
        self._bare, self._clone = folder / "served" / "platform.git", folder / "clone"
        run("git", "init", "-q", "--bare", f"--initial-branch={BRANCH}", self._bare)
        run("git", "clone", "-q", self._bare, self._clone)
        self._git("checkout", "-q", "-B", BRANCH)

    def commit(self, files: Mapping[str, str | None]) -> str:
        """Write these files, by path, or remove those without a text; push, and return the commit."""
        for name, text in files.items():
            path = self._clone / name
            if text is None:
                remove(path)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        self._git("add", "--all")
        self._git(*_AUTHOR, "commit", "-q", "--allow-empty", "-m", "Change the platform")
        self._git("push", "-q", "origin", BRANCH)
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *words: str) -> str:
        return run("git", "-C", self._clone, *words)


@contextmanager
def running() -> Iterator[Repository]:
    """Have an empty repository served, and end that."""
    addon = AddOn("git-server")
    with addon.session("Git server", lambda: _started(addon)) as repository:
        yield repository


def _started(addon: AddOn) -> Repository:
    addon.state.mkdir(parents=True)
    repository = Repository(addon.state)
    addon.start("git-server", sys.executable, _SERVER, addon.state / "served", str(PORT))

    def listens() -> bool:
        if not addon.running():
            raise RuntimeError(f"the Git server ended:\n{addon.logs()}")
        return "serving" in addon.log("git-server")

    until("the Git server listens", listens, seconds=30)
    return repository
