"""A registry (Debian's docker-registry) as a process in the cluster's network, which pods and nodes reach by http."""

import base64
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dev.addons.process import AddOn
from dev.cluster import embedded, packages
from dev.cluster.artifacts import remove
from dev.cluster.node import NODES
from dev.cluster.paths import state
from dev.cluster.steps import step
from dev.kube import Kube, until

USER, PASSWORD = "user", "pa55-w0rd"
_HTPASSWD = "user:$2y$05$abcdefghijklmnopqrstuuykDbrHIkPBAe3TkMNzTPuBTmCT39jdG\n"  # bcrypt, of a password for tests
_HOST, _PORT = NODES[0].address, 19500
HOST = f"{_HOST}:{_PORT}"


class LocalRegistry:
    """A registry that can be away for a while."""

    def __init__(self) -> None:
        self._addon = AddOn("registry")
        self._data = state("addons") / "registry-data"  # outlives the process
        self.stop()

    def start(self) -> None:
        """Start it with what it held before."""
        folder = self._addon.state
        folder.mkdir(parents=True)
        (folder / "htpasswd").write_text(_HTPASSWD)
        config = {
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self._data)}, "delete": {"enabled": True}},
            "http": {"addr": HOST, "secret": "test"},
            "auth": {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}},
        }
        (folder / "config.yml").write_text(json.dumps(config))
        self._addon.start("registry", "docker-registry", "serve", folder / "config.yml")
        until("the registry listens", self._listens, seconds=20)

    def stop(self) -> None:
        """End it, as an outage does."""
        self._addon.stop()

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository, sorted."""
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(
            f"http://{HOST}/v2/{repository}/tags/list", headers={"Authorization": f"Basic {login}"}
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
                return sorted(json.load(answer)["tags"] or ())
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return []

    def remove(self) -> None:
        """End it, and remove what it holds."""
        self.stop()
        remove(self._data)

    @staticmethod
    def _listens() -> bool:
        with suppress(OSError), socket.create_connection((_HOST, _PORT), 1):
            return True
        return False


@contextmanager
def running() -> Iterator[LocalRegistry]:
    """Have it running, and known to the nodes, and remove it."""
    packages.ensure({"docker-registry": "docker-registry"})
    registry = LocalRegistry()
    try:
        with step("registry: starting"):
            for node in NODES:
                known = node.registries(embedded.plane()) / HOST
                known.mkdir(parents=True, exist_ok=True)
                (known / "hosts.toml").write_text(f'server = "http://{HOST}"\n[host."http://{HOST}"]\n')
            registry.start()
        yield registry
    finally:
        registry.remove()


def credentials(kube: Kube, name: str) -> None:
    """A pull secret for it."""
    config = {"auths": {HOST: {"username": USER, "password": PASSWORD}}}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/dockerconfigjson",
    }
    kube.apply({**secret, "stringData": {".dockerconfigjson": json.dumps(config)}})
