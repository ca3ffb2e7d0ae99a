"""Programs that demos and tests run beside the cluster, built from their Go modules."""

from dataclasses import dataclass
from pathlib import Path

from .golang import install, program


@dataclass(frozen=True)
class Tool:
    """A published Go program at one version."""

    name: str
    package: str
    version: str

    def path(self) -> Path:
        """Path of the binary, built when the cache has none."""
        return install(self.name, self.package, self.version)


HELM = Tool("helm", "helm.sh/helm/v3/cmd/helm", "v3.22.0")
VERSITYGW = Tool("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0")
KIND = Tool("kind", "sigs.k8s.io/kind", "v0.33.0")
TOOLS = (HELM, VERSITYGW)


def kubectl() -> Path:
    """Path of kubectl, of the cluster's version."""
    return program("kubectl")
