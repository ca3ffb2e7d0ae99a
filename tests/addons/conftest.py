"""Real add-ons beside the real cluster, as processes of this machine: the embedded cluster only.

platform     session   the cluster on containerd 2.1, the images of the project and of Triton, an S3 gateway with models
gateway      session   Envoy Gateway, with a GatewayClass and Gateway API's CRDs
repository   session   a Git repository that the cluster's network can clone
scraped      session   Prometheus with the scrape configurations of the documentation, and the chart's alerts
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import magika
from dev.addons import containerd_two, envoy_gateway, git_server, prometheus
from dev.addons.process import AddOn
from dev.cluster import choice, embedded
from dev.platform import Platform
from tests.addons import alerts
from tests.addons.scaled import documented


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("e2e")
            item.add_marker(pytest.mark.timeout(2400))


@pytest.fixture(scope="session")
def platform() -> Platform:
    if choice.chosen() is not embedded:
        pytest.skip("add-ons run in the network of the embedded cluster: CLUSTER=embedded")
    containerd_two.use()
    made = Platform(tests=True)
    made.install_s3()
    made.upload({"magika/1/model.onnx": magika.model().read_bytes()})
    return made


@pytest.fixture(scope="session")
def gateway(platform: Platform) -> Iterator[AddOn]:
    with envoy_gateway.running(platform.kube) as addon:
        yield addon


@pytest.fixture(scope="session")
def scraped(platform: Platform) -> Iterator[prometheus.Prometheus]:
    jobs = [documented("scrape_configs", page)["scrape_configs"] for page in ("scaling.md", "install.md")]
    with prometheus.running([job for page in jobs for job in page], alerts.soon()) as running:
        yield running


@pytest.fixture(scope="session")
def repository(platform: Platform) -> Iterator[git_server.Repository]:
    with git_server.running() as repository:
        yield repository
