"""Prometheus as a process in the cluster's network, where it finds and scrapes pods as it would in a cluster."""

import json
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from dev.addons.process import AddOn
from dev.cluster import embedded
from dev.cluster.golang import module_program
from dev.cluster.node import NODES
from dev.kube import until

PORT, _PAGES = 19490, 19491
URL = f"http://{NODES[0].address}:{PORT}"

_FOLDER = Path(__file__).parent / "prometheus-server"
_PACKAGE = "github.com/prometheus/prometheus/cmd/prometheus"
_TAGS = "remove_all_sd,enable_kubernetes_sd"


def build() -> None:
    """Build it, if the cache has none."""
    _program()


class Prometheus:
    """One that runs, and the only metric of a gateway that there is not."""

    def __init__(self, folder: Path) -> None:
        self._page = folder / "metrics"

    def demand(self, namespace: str, model: str, requests: int) -> None:
        """Let a gateway have so many requests for the model: `gateway_active_requests`."""
        new = self._page.with_suffix(".new")
        new.write_text(f'gateway_active_requests{{namespace="{namespace}",model="{model}"}} {requests}\n')
        new.rename(self._page)


@contextmanager
def running(scrape: Sequence[dict[str, Any]], rules: str = "", seconds: int = 2) -> Iterator[Prometheus]:
    """Have it running with these scrape configurations and rules, each of them every so many seconds, and end it.

    rules: the content of a rules file.
    """
    addon = AddOn("prometheus")
    with addon.session("Prometheus", lambda: _started(addon, scrape, rules, seconds)) as started:
        yield started


def query(promql: str) -> list[dict[str, Any]]:
    """Return the samples that a query gives now."""
    with urllib.request.urlopen(f"{URL}/api/v1/query?{urlencode({'query': promql})}", timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found


def _program() -> Path:
    return module_program(_FOLDER, _PACKAGE, _TAGS)


def _started(addon: AddOn, scrape: Sequence[dict[str, Any]], rules: str, seconds: int) -> Prometheus:
    pages = addon.state / "pages"
    pages.mkdir(parents=True)
    (addon.state / "rules.yml").write_text(rules or "groups: []\n")
    config = addon.state / "prometheus.yml"
    config.write_text(yaml.safe_dump(_configuration(scrape, seconds)))
    addon.start("gateway", sys.executable, "-m", "http.server", str(_PAGES), "--bind=127.0.0.1", f"--directory={pages}")
    addon.start(
        "prometheus", _program(), f"--config.file={config}", f"--storage.tsdb.path={addon.state / 'data'}",
        f"--web.listen-address=0.0.0.0:{PORT}",
    )  # fmt: skip

    def ready() -> bool:
        if not addon.running():
            raise RuntimeError(f"Prometheus ended:\n{addon.log('prometheus')}")
        try:
            with urllib.request.urlopen(f"{URL}/-/ready", timeout=5) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except OSError:
            return False

    until("Prometheus is ready", ready, seconds=60)
    return Prometheus(pages)


def _configuration(scrape: Sequence[dict[str, Any]], seconds: int) -> dict[str, Any]:
    """The configurations as a cluster has them, but that a process outside of a pod is told of the API server."""
    kubeconfig, often = str(embedded.plane().kubeconfig), f"{seconds}s"

    def here(job: dict[str, Any]) -> dict[str, Any]:
        found = [{**one, "kubeconfig_file": kubeconfig} for one in job["kubernetes_sd_configs"]]
        return {**job, "scrape_interval": often, "kubernetes_sd_configs": found}

    gateway = {
        "job_name": "gateway",
        "static_configs": [{"targets": [f"127.0.0.1:{_PAGES}"]}],
        "fallback_scrape_protocol": "PrometheusText0.0.4",
    }
    often_enough = {"scrape_interval": often, "scrape_timeout": often, "evaluation_interval": often}
    return {"global": often_enough, "rule_files": ["rules.yml"], "scrape_configs": [*map(here, scrape), gateway]}
