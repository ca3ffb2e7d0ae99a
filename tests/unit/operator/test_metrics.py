"""What /metrics shows, and where."""

from prometheus_client import CollectorRegistry, generate_latest

from onnxmodel_operator import metrics
from onnxmodel_operator.cluster.cache import Cache
from onnxmodel_operator.cluster.kinds import ALL
from onnxmodel_operator.cluster.reflector import Reflector
from tests.metricstable import documented_metrics, shown_metrics


def test_models_are_shown_by_the_replica_that_leads_alone():
    registry, leads = CollectorRegistry(), True
    ages = {f"n{number}": float(number) for number in range(30)}
    registry.register(metrics.Models(lambda: {"Ready": 2, "Failed": 0}, lambda: ages, lambda: 30, lambda: leads))
    shown = generate_latest(registry).decode()
    assert 'onnxmodel_operator_models{phase="Ready"} 2.0' in shown
    assert "onnxmodel_operator_queue_depth 30.0" in shown
    assert shown.count("onnxmodel_operator_queue_age_seconds{") == 20
    assert 'onnxmodel_operator_queue_age_seconds{namespace="n29"} 29.0' in shown
    leads = False
    assert generate_latest(registry) == b""


async def test_repairs_of_each_kind_are_shown_from_the_start():
    metrics.REPAIRS.clear()
    for kind in ALL:
        Reflector(kind, None, Cache(), None)
    shown = generate_latest(metrics.REGISTRY).decode()
    for kind in ALL:
        assert f'onnxmodel_operator_watch_repairs_total{{kind="{kind.name}"}} 0.0' in shown


def test_the_table_of_the_documentation_has_each_metric_once():
    registry = CollectorRegistry()
    registry.register(metrics.Models(dict, dict, lambda: 0, lambda: True))
    registry.register(metrics.Speeds(dict))
    registry.register(metrics.Proofs(dict))
    page = (generate_latest(metrics.REGISTRY) + generate_latest(registry)).decode()
    assert sorted(documented_metrics()) == shown_metrics(page)
