"""`kubectl get onnxmodels` speaks of what serves, at every moment, and of nothing else."""

import json
from typing import Any

import pytest

from dev.results import loaded, optimized, validated
from onnxmodel_operator.api.crd import crd
from onnxmodel_operator.status.figures import milliseconds, rate
from onnxmodel_runtime.contract.outcome import ExitCode, Failure
from onnxmodel_runtime.contract.probe import ProbeResult
from onnxmodel_runtime.contract.text import plain
from tests.builders import Cluster, body
from tests.stages import UNSERVED

SERVES = ("RUNTIME", "PROVIDER", "VARIANT", "P99", "THROUGHPUT", "REPLICAS", "OPSET", "SHA256")
FIRST = ("onnxruntime", "CPU", "fp32", "5ms", "800/s", "1/1", 17, "a" * 64)
NOTHING = (None,) * len(SERVES)


def row(cluster: Cluster) -> tuple[Any, ...]:
    """The columns about what serves, by the paths that the API server will follow."""
    (version,) = crd()["spec"]["versions"]
    paths = {column["name"]: column["jsonPath"] for column in version["additionalPrinterColumns"]}

    def value(path: str) -> Any:
        found: Any = cluster.objects["OnnxModel", "team-a", "magika"]
        for key in path.strip(".").split("."):
            found = found.get(key, {})
        return found if found != {} else None

    return tuple(value(paths[name]) for name in SERVES)


def test_nothing_is_told_of_a_server_before_one_serves():
    cluster = Cluster(body())
    for stage in UNSERVED:
        cluster.settle()
        assert row(cluster) == NOTHING, stage
        cluster.succeed(stage)
    cluster.settle()
    cluster.available()
    cluster.settle()
    assert cluster.status()["phase"] == "LoadTesting"
    assert row(cluster) == NOTHING, "the benchmark's figures are of no server"
    assert cluster.status()["target"]["variant"] == "fp32"
    assert "served" not in cluster.status()["target"]
    cluster.succeed("loadtest")
    cluster.settle()
    assert cluster.status()["phase"] == "Probing"
    assert row(cluster) == ("onnxruntime", None, *FIRST[2:]), "the server was not asked yet which provider runs"
    cluster.succeed("probe")
    cluster.settle()
    assert row(cluster) == FIRST
    assert cluster.status()["active"]["served"] == cluster.status()["target"]["served"]


def test_a_pod_that_is_away_changes_replicas_alone():
    cluster = Cluster(body())
    cluster.live()
    before = cluster.status()
    cluster.available(replicas=0)
    cluster.settle()
    assert cluster.condition("Available")["status"] == "False"
    assert row(cluster) == (*FIRST[:5], "0/1", *FIRST[6:])
    for field in ("active", "target", "benchmark", "variants"):
        assert cluster.status()[field] == before[field], field
    cluster.available()
    cluster.settle()
    assert row(cluster) == FIRST


def test_a_missed_constraint_stays_missed_while_a_pod_is_away():
    cluster = Cluster(body(benchmark={"constraints": {"p99Milliseconds": 4.5}, "gate": "Warn"}))
    cluster.live()  # 4 ms in the benchmark, 5 ms as served
    before = cluster.condition("Benchmarked")
    assert before["reason"] == "ConstraintsNotMet"
    cluster.available(replicas=0)
    cluster.settle()
    assert cluster.condition("Benchmarked") == before
    assert cluster.status()["variants"][1]["satisfiesConstraints"] is False
    assert "as served, p99 is 5 ms" in cluster.status()["target"]["missed"]


def test_a_new_spec_changes_the_columns_when_its_revision_takes_traffic_and_not_before():
    cluster = Cluster(body())
    cluster.live()
    cluster.edit(source={"uri": "s3://models/magika/2/model.onnx"}, serving={"runtime": "triton"})
    for stage, result in (
        ("validate", validated(sha256="c" * 64, opset=18)),
        ("optimize", optimized(parity=False)),
        ("benchmark", None),
    ):
        cluster.settle()
        assert row(cluster) == FIRST, stage
        cluster.succeed(stage, result=result)
    cluster.settle()
    cluster.available()
    cluster.settle()
    assert (cluster.status()["phase"], row(cluster)) == ("LoadTesting", FIRST)
    assert cluster.status()["target"]["variant"] == "original", "what is proven has a block of its own"
    assert cluster.status()["target"]["runtime"] == "triton"
    cluster.succeed("loadtest", result=loaded(_asked(cluster, "loadtest"), p50=2180.0, throughput=0.25))
    cluster.settle()
    second = ("triton", None, "original", "4.36s", "0.25/s", "1/1", 18, "c" * 64)
    assert (cluster.status()["phase"], row(cluster)) == ("Probing", second), "traffic is on the new one"
    cluster.fail("probe", ExitCode.REFUSED, failure=Failure("ProbeMismatch", "output y differs", "Look."))
    cluster.settle()
    assert row(cluster) == FIRST, "and went back"


def _asked(cluster: Cluster, stage: str) -> Any:

    return json.loads(cluster.jobs()[stage]["spec"]["template"]["spec"]["containers"][0]["args"][2])


@pytest.mark.parametrize(
    "spec",
    [
        {"suspend": True},
        {"serving": {"nodePool": "none"}},
        {"optimization": {"graphLevel": "Basic"}, "suspend": True},
        {"benchmark": {"attempt": 2}},
        {"benchmark": {"constraints": {"p99Milliseconds": 0.1}}},
    ],
    ids=["suspended", "invalid", "suspended with a new spec", "measured again", "Stalled"],
)
def test_whatever_becomes_of_the_newest_spec_the_columns_stay(spec):
    cluster = Cluster(body())
    cluster.live()
    served = cluster.status()["active"]["served"]
    cluster.edit(**spec)
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "False"
    assert row(cluster) == FIRST
    cluster.available(replicas=0)
    cluster.settle()
    cluster.available()
    cluster.settle()
    assert row(cluster) == FIRST
    assert cluster.status()["active"]["served"] == served


def test_suspended_in_the_middle_of_a_switch():
    cluster = Cluster(body())
    cluster.live()
    cluster.edit(serving={"accessLog": True})
    cluster.settle()
    cluster.deploy()
    assert cluster.status()["phase"] == "Probing"
    cluster.edit(serving={"accessLog": True}, suspend=True)
    cluster.settle()
    assert cluster.status()["serving"]["revision"] == cluster.routed()
    assert row(cluster)[2:5] == ("fp32", "5ms", "800/s")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0000345, "0.0000345ms"),
        (0.5642, "0.564ms"),
        (12.94, "12.9ms"),
        (999.4, "999ms"),
        (999.7, "1s"),
        (4360.0, "4.36s"),
        (4363218.0, "4,360s"),
    ],
)
def test_latencies_have_no_exponent(value, shown):
    assert milliseconds(value) == shown


def test_rates_and_plain_numbers_have_no_exponent():
    assert [rate(value) for value in (0.0123, 90.64, 1234.5, 2.5e6)] == ["0.0123/s", "90.6/s", "1,230/s", "2,500,000/s"]
    assert plain(1e6, 6) == "1,000,000"
    assert plain(0.0) == "0"


def test_of_triton_which_tells_no_provider_the_columns_say_what_ran_in_the_benchmark():
    cluster = Cluster(body(serving={"runtime": "triton"}))
    cluster.prove()
    cluster.deploy()
    cluster.settle()
    cluster.succeed("probe", result=ProbeResult(3.0, 2.0, 0.0, provider=None))
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "True"
    assert cluster.status()["serving"]["provider"] == "CPU"
