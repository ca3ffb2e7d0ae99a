"""serving.runtime triton: the pod that the operator makes, and what a Triton that does not start is to the model."""

import dataclasses
import json
import re

import pytest

from dev.results import benchmarked, optimized, probed
from onnxmodel_operator import names
from onnxmodel_operator.platform import settings
from onnxmodel_runtime.contract.codec import loads
from onnxmodel_runtime.contract.outcome import Failure, Outcome, encode
from onnxmodel_runtime.contract.repository import RepositoryRequest
from tests.builders import SETTINGS, Cluster, body

TRITON = {"runtime": "triton"}


def live(**spec):
    cluster = Cluster(body(serving={**TRITON, **spec}))
    cluster.live()
    return cluster


def pod(cluster):
    (deployment,) = cluster.deployments()
    return deployment["spec"]["template"]["spec"]


def request(cluster) -> RepositoryRequest:
    command, _, text = pod(cluster)["initContainers"][0]["args"]
    assert command == "repository"
    return loads(RepositoryRequest, text)


def arguments(cluster) -> dict[str, str]:
    program, *words = pod(cluster)["containers"][0]["args"]
    assert program == "tritonserver"
    return dict(word.removeprefix("--").partition("=")[::2] for word in words)


def test_the_repository_is_laid_out_for_exactly_this_revision():
    cluster = live(replicas=2, batching={"maxBatchSize": 16, "maxQueueDelayMicroseconds": 300}, instances=2)
    asked = request(cluster)
    assert asked.serve.name == "magika"
    assert asked.serve.sha256 == "b" * 64
    assert asked.serve.revision == cluster.routed()
    assert (asked.serve.max_batch_size, asked.serve.max_queue_delay_microseconds, asked.serve.instances) == (16, 300, 2)
    assert (asked.directory, asked.gpus, asked.image, asked.engines) == ("/models", 0, "triton:1", "")
    assert cluster.deployments()[0]["spec"]["replicas"] == 2
    assert cluster.status()["serving"]["runtime"] == "triton"


def test_it_loads_what_was_laid_out_and_nothing_else():
    given = arguments(live())
    assert given["model-repository"] == "/models"
    assert given["model-control-mode"] == "none"
    assert given["disable-auto-complete-config"] == ""
    assert given["exit-on-error"] == given["strict-readiness"] == "true"
    for option in ("http-restricted-api", "grpc-restricted-protocol"):
        assert re.fullmatch(r"shared-memory,trace,logging:admin=[0-9a-f]{64}", given[option])


def test_triton_can_write_to_nothing_that_it_serves():
    cluster = live()
    (server,), (layout,) = pod(cluster)["containers"], pod(cluster)["initContainers"]
    mounts = {mount["mountPath"]: mount for mount in server["volumeMounts"]}
    assert mounts["/artifacts"]["readOnly"] is mounts["/models"]["readOnly"] is True
    assert not [mount for mount in layout["volumeMounts"] if mount["name"] == "artifacts" and not mount["readOnly"]]
    volumes = {volume["name"]: volume for volume in pod(cluster)["volumes"]}
    assert mounts["/dev/shm"]["name"] == "shm"
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
    for container in (server, layout):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
    assert (server["image"], layout["image"]) == ("triton:1", "runtime:cpu")


def test_it_takes_traffic_when_its_model_is_ready_and_ends_within_its_grace():
    cluster = live()
    (server,) = pod(cluster)["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        assert server[probe]["httpGet"] == {"path": "/v2/models/magika/ready", "port": "http"}
    assert server["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    *_, port, least, _, most = server["lifecycle"]["preStop"]["exec"]["command"]
    assert port == "8002"
    assert int(most) + int(arguments(cluster)["exit-timeout-secs"]) < pod(cluster)["terminationGracePeriodSeconds"]
    # gRPC lets a connection get a tenth older, and endpoints take their time.
    assert int(arguments(cluster)["grpc-max-connection-age"]) * 1.1 / 1000 + 5 <= int(least)
    assert {port["name"]: port["containerPort"] for port in server["ports"]} == {
        "http": 8000,
        "grpc": 8001,
        "metrics": 8002,
    }
    assert [arguments(cluster)[f"{name}-port"] for name in ("http", "grpc", "metrics")] == ["8000", "8001", "8002"]


def test_engines_outlive_the_pod_and_are_all_that_a_gpu_server_writes():
    cluster = Cluster(body(serving={**TRITON, "nodePool": "a100", "gpus": 2}))
    cluster.live()
    (server,), (layout,) = pod(cluster)["containers"], pod(cluster)["initContainers"]
    assert request(cluster).engines == "/artifacts/engines"
    assert request(cluster).gpus == 2
    mounts = {mount["mountPath"]: mount for mount in server["volumeMounts"]}
    assert mounts["/artifacts"]["readOnly"] is True
    assert mounts["/artifacts/engines"] == {
        "name": "artifacts",
        "mountPath": "/artifacts/engines",
        "subPath": "engines",
    }
    # The engines' key has the GPU's name, so that the container which makes it must see the GPU too.
    assert layout["image"] == "runtime:gpu"
    for container in (server, layout):
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert {"name": "CUDA_MODULE_LOADING", "value": "LAZY"} in server["env"]


@pytest.mark.parametrize(("loading", "budget"), [(0.0, 600), (59.0, 600), (61.0, 3600), (400.0, 14400)])
@pytest.mark.parametrize("runtime", ["triton", "onnxruntime"])
def test_a_start_may_take_ten_times_what_the_benchmark_needed(loading, budget, runtime):
    cluster = Cluster(body(serving={"runtime": runtime}))
    cluster.reach("benchmark")
    cluster.succeed(
        "benchmark", result=dataclasses.replace(benchmarked(), load_seconds={"original": 1.0, "fp32": loading})
    )
    cluster.settle()
    probe = pod(cluster)["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == budget
    assert cluster.deployments()[0]["spec"]["progressDeadlineSeconds"] == budget


def test_another_runtime_is_another_revision_and_measures_nothing_again():
    cluster = Cluster(body())
    cluster.live()
    before = cluster.routed()
    start = len(cluster.writes)
    cluster.edit(serving=TRITON)
    cluster.live()
    assert cluster.routed() != before
    jobs = [name for verb, kind, name in cluster.writes[start:] if (verb, kind) == ("apply", "Job")]
    assert [name.split("-")[1] for name in jobs] == ["loadtest", "probe"]
    assert cluster.status()["serving"]["runtime"] == "triton"
    assert [item["metadata"]["labels"][names.LABEL_RUNTIME] for item in cluster.deployments()] == ["triton"]


def test_another_image_of_triton_is_another_revision():
    cluster = live()
    before = cluster.routed()
    images = SETTINGS.images.model_copy(update={"triton": "triton:2"})
    at_once = settings.Upgrades(policy="Immediate")
    cluster.settings = SETTINGS.model_copy(update={"images": images, "upgrades": at_once})
    cluster.live()
    assert cluster.routed() != before
    assert request(cluster).image == "triton:2"


def test_a_platform_without_triton_says_so():
    data = {"images": {"runtimeCpu": "runtime:cpu"}}
    cluster = Cluster(body(serving=TRITON), platform=settings.parse(data))
    cluster.settle()
    last = cluster.status()["lastFailure"]
    assert (last["reason"], last["field"]) == ("InvalidSpec", "spec.serving.runtime")
    assert "runtimeImages.triton" in last["message"]


REASON = "onnx runtime error 1: Load model from /models/magika/1/model.onnx failed: Opset 30 is under development"
LOG = (
    f"E1121 20:12:39.093348 1 model_lifecycle.cc:642] \"failed to load 'magika' version 1: Internal: {REASON}\"\n"
    "error: creating server: Internal - failed to load all models\n"
)


def test_a_model_that_triton_cannot_load_is_stalled_with_tritons_reason():
    cluster = Cluster(body(serving=TRITON))
    cluster.prove()
    (deployment,) = cluster.deployments()
    end = {"exitCode": 1, "message": LOG, "finishedAt": "2026-01-01T00:01:00Z"}
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    cluster.available(deployment, replicas=0)
    made = cluster.pod(deployment, state=state)
    made["status"]["containerStatuses"][0]["lastState"] = {"terminated": end}
    cluster.settle()
    last = cluster.status()["lastFailure"]
    assert (last["stage"], last["reason"]) == ("serve", "TritonLoadFailed")
    assert REASON in last["message"]
    assert cluster.condition("Stalled")["status"] == "True"


def test_what_the_layout_refuses_is_stalled_with_its_own_words():
    cluster = Cluster(body(serving=TRITON))
    cluster.prove()
    (deployment,) = cluster.deployments()
    failure = Failure("UnsupportedDatatype", "output 'y' is BF16", "Cast it inside the model.")
    message = encode(Outcome("repository", 0.1, failure=failure))
    end = {"exitCode": 10, "message": message, "finishedAt": "2026-01-01T00:01:00Z"}
    cluster.available(deployment, replicas=0)
    cluster.pod(deployment, phase="Pending", container="repository", init=True, state={"terminated": end})
    cluster.settle()
    assert cluster.status()["lastFailure"]["message"] == "output 'y' is BF16"
    assert cluster.condition("Stalled")["status"] == "True"


WHY = "rows of one batch influence each other: the node 'q' (DynamicQuantizeLinear) quantizes by the range of the whole batch"


@pytest.mark.parametrize("runtime", ["onnxruntime", "triton"])
def test_what_is_known_of_the_variants_rows_reaches_its_server_and_status(runtime):
    found = optimized()
    variants = tuple(dataclasses.replace(v, unjoined=WHY if v.name == "fp32" else "") for v in found.variants)
    cluster = Cluster(body(serving={"runtime": runtime, "batching": {"maxQueueDelayMicroseconds": 500}}))
    cluster.reach("optimize")
    cluster.succeed("optimize", result=dataclasses.replace(found, variants=variants))
    cluster.prove()
    assert cluster.status()["target"]["variant"] == "fp32"
    if runtime == "triton":
        assert request(cluster).serve.unjoined == WHY
    cluster.available()
    cluster.settle()
    asked = json.loads(cluster.jobs()["loadtest"]["spec"]["template"]["spec"]["containers"][0]["args"][2])
    assert asked["unjoined"] == WHY
    cluster.succeed("loadtest")
    cluster.settle()
    cluster.succeed("probe", result=dataclasses.replace(probed(), unjoined=WHY))
    cluster.settle()
    assert cluster.status()["serving"]["batching"] == {"joined": False, "reason": WHY}
    # The revision is the same: what the server said stays.
    cluster.available(replicas=0)
    cluster.settle()
    assert cluster.status()["serving"]["batching"]["reason"] == WHY


@pytest.mark.parametrize(("told", "shown"), [("", {"joined": True}), (None, None)])
def test_a_server_that_joins_says_so_in_status(told, shown):
    cluster = Cluster(body())
    cluster.prove()
    cluster.deploy()
    cluster.settle()
    cluster.succeed("probe", result=dataclasses.replace(probed(), unjoined=told))
    cluster.settle()
    assert cluster.status()["serving"].get("batching") == shown
