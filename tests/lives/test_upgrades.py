"""Newer runtime images of the platform: which models move to them, and when."""

from datetime import UTC, datetime

import pytest

from onnxmodel_operator.platform.settings import MaintenanceWindow, Upgrades
from tests.builders import SETTINGS, Cluster, body

NEWER = "runtime:cpu-2"


def upgrade(cluster: Cluster, policy: str = "OnChange", **rules) -> None:
    """The platform team installs the next release of the chart."""
    images = cluster.settings.images.model_copy(update={"runtime_cpu": NEWER, "triton": "triton:2"})
    upgrades = Upgrades(policy=policy, **rules)
    cluster.settings = cluster.settings.model_copy(update={"images": images, "upgrades": upgrades})


def images(cluster: Cluster) -> list[str]:
    specs = [deployment["spec"]["template"]["spec"] for deployment in cluster.deployments()]
    return [
        container["image"] for spec in specs for container in (*spec.get("initContainers", ()), *spec["containers"])
    ]


@pytest.mark.parametrize("runtime", ["onnxruntime", "triton"])
def test_on_change_a_proven_model_keeps_its_images_and_its_pods(runtime):
    cluster = Cluster(body(serving={"runtime": runtime}))
    cluster.live()
    before, jobs = images(cluster), set(cluster.jobs())
    upgrade(cluster)
    assert {write[0] for write in cluster.settle()} == {"status"}
    assert (images(cluster), set(cluster.jobs())) == (before, jobs)
    assert cluster.condition("Ready")["status"] == "True"
    told = cluster.status()["upgrade"]
    assert told["state"] == "Waiting"
    assert f"the platform has {NEWER}" in told["message"]
    assert cluster.settle() == []


def test_on_change_scaling_and_repair_change_no_image():
    cluster = Cluster(body())
    cluster.live()
    upgrade(cluster)
    cluster.edit(serving={"replicas": 3})
    cluster.settle()
    key = ("Deployment", "team-a", cluster.deployments()[0]["metadata"]["name"])
    del cluster.objects[key]
    cluster.settle()
    cluster.available()
    cluster.settle()
    assert images(cluster) == ["runtime:cpu"]
    assert cluster.condition("Ready")["status"] == "True"


def test_on_change_the_next_spec_is_proven_with_the_newer_images():
    cluster = Cluster(body())
    cluster.live()
    upgrade(cluster)
    cluster.settle()
    cluster.edit(optimization={"graphLevel": "Basic"})
    cluster.settle()
    job = cluster.jobs()["validate"]
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == NEWER
    assert cluster.status()["upgrade"]["state"] == "Running"
    cluster.live()
    assert images(cluster) == [NEWER]
    assert "upgrade" not in cluster.status()


def test_an_image_that_is_taken_back_costs_nothing():
    cluster = Cluster(body())
    cluster.live()
    settings = cluster.settings
    upgrade(cluster)
    cluster.settle()
    cluster.settings = settings
    assert {write[0] for write in cluster.settle()} == {"status"}
    assert "upgrade" not in cluster.status()


def fleet(count: int, policy: str = "Immediate", **rules) -> Cluster:
    """So many proven models, and a newer image."""
    cluster = Cluster(*(body(f"model-{number}") for number in range(count)))
    for number in range(count):
        life(cluster, f"model-{number}")
    upgrade(cluster, policy, **rules)
    return cluster


def life(cluster: Cluster, name: str) -> None:
    """The model gets as far as it gets in a healthy cluster."""
    for _ in range(12):
        cluster.settle(name)
        for kind, _, child in list(cluster.objects):
            item = cluster.objects.get((kind, "team-a", child))
            if kind in ("Job", "Deployment") and item and item["metadata"]["labels"]["onnx-operator.dev/model"] == name:
                finish(cluster, item)


def finish(cluster: Cluster, item) -> None:
    jobs = cluster.jobs
    if item["kind"] == "Deployment":
        cluster.available(item)
    elif not item["status"].get("conditions"):
        stage = item["metadata"]["labels"]["onnx-operator.dev/stage"]
        cluster.jobs = lambda: {stage: item}
        cluster.succeed(stage)
        cluster.jobs = jobs


def states(cluster: Cluster) -> list[str]:
    names = [name for kind, _, name in cluster.objects if kind == "OnnxModel"]
    return [cluster.status(name).get("upgrade", {}).get("state", "-") for name in names]


def test_so_many_models_move_at_a_time_and_the_others_say_after_whom():
    cluster = fleet(3)
    for number in range(3):
        cluster.settle(f"model-{number}")
    assert states(cluster) == ["Running", "Waiting", "Waiting"]
    assert "after team-a/model-0" in cluster.status("model-1")["upgrade"]["message"]
    assert cluster.step("model-1").requeue_seconds == 60
    cluster.restart()
    cluster.settle("model-1")
    assert states(cluster) == ["Running", "Waiting", "Waiting"], "an operator that was restarted knows them from status"
    life(cluster, "model-0")
    cluster.pass_time(60)
    for number in (1, 2):
        cluster.settle(f"model-{number}")
    assert states(cluster) == ["-", "Running", "Waiting"]


def test_a_bad_image_reaches_no_more_models_than_that():
    cluster = fleet(3)
    cluster.settle("model-0")
    (job,) = [
        job for job in cluster.jobs().values() if job["metadata"]["labels"]["onnx-operator.dev/model"] == "model-0"
    ]
    jobs = cluster.jobs
    cluster.jobs = lambda: {"validate": job}
    cluster.fail("validate", 139)
    cluster.jobs = jobs
    for number in range(3):
        cluster.settle(f"model-{number}")
    assert cluster.condition("Stalled", name="model-0") is not None
    assert cluster.condition("Available", name="model-0")["status"] == "True"
    assert states(cluster) == ["Running", "Waiting", "Waiting"]


def test_a_window_opens_and_what_began_in_it_ends_after_it():
    window = MaintenanceWindow(start="02:00", hours=1)
    cluster = fleet(1, "Window", window=window)
    cluster.settle("model-0")
    assert "in the maintenance window" in cluster.status("model-0")["upgrade"]["message"]
    cluster.pass_time(2 * 3600)
    cluster.settle("model-0")
    assert states(cluster) == ["Running"]
    cluster.pass_time(2 * 3600)
    life(cluster, "model-0")
    assert states(cluster) == ["-"]
    assert images(cluster) == [NEWER]


def test_a_status_of_an_earlier_release_moves_at_once():
    cluster = Cluster(body())
    cluster.live()
    key = ("OnnxModel", "team-a", "magika")
    status = cluster.status()
    for block in ("active", "target"):
        status[block] = {name: value for name, value in status[block].items() if name != "images"}
    cluster._store({**cluster.objects[key], "status": status})
    upgrade(cluster)
    cluster.settle()
    assert cluster.jobs()["validate"]["spec"]["template"]["spec"]["containers"][0]["image"] == NEWER


@pytest.mark.parametrize(
    ("window", "time", "opens"),
    [
        ({"start": "02:00", "hours": 4}, "2026-01-01T01:59:59", False),
        ({"start": "02:00", "hours": 4}, "2026-01-01T02:00:00", True),
        ({"start": "02:00", "hours": 4}, "2026-01-01T05:59:59", True),
        ({"start": "02:00", "hours": 4}, "2026-01-01T06:00:00", False),
        ({"start": "22:00", "hours": 4}, "2026-01-01T01:59:59", True),  # since the day before
        ({"start": "22:00", "hours": 4, "days": ["Wed"]}, "2026-01-01T01:00:00", True),  # a Thursday
        ({"start": "22:00", "hours": 4, "days": ["Thu"]}, "2026-01-01T01:00:00", False),
        ({"start": "00:00", "hours": 24}, "2026-01-01T12:00:00", True),
    ],
)
def test_a_window_is_of_its_days_and_hours_in_utc(window, time, opens):
    cluster = Cluster(body())
    cluster.live()
    upgrade(cluster, "Window", window=MaintenanceWindow(**window))
    cluster.now = datetime.fromisoformat(time).replace(tzinfo=UTC)
    cluster.settle()
    assert cluster.status()["upgrade"]["state"] == ("Running" if opens else "Waiting")


def test_the_default_is_on_change():
    assert SETTINGS.upgrades.policy == "OnChange"


def test_a_newer_image_is_no_reason_to_try_a_refused_revision_again():
    cluster = Cluster(body(serving={"replicas": 2}, rollout={"strategy": "Canary", "gates": {"mode": "Warn"}}))
    cluster.live()
    cluster.edit(optimization={"graphLevel": "Basic"})
    for stage in ("optimize", "benchmark"):
        cluster.settle()
        cluster.succeed(stage)
    cluster.settle()
    cluster.deploy()
    key = ("OnnxModel", "team-a", "magika")
    ordered = {**cluster.objects[key]["metadata"], "annotations": {"onnx-operator.dev/abort": "1"}}
    cluster._store({**cluster.objects[key], "metadata": ordered})
    cluster.settle()
    assert cluster.condition("Stalled")["reason"] == "RolloutAborted"
    upgrade(cluster)
    cluster.settle()
    assert cluster.condition("Stalled")["reason"] == "RolloutAborted"
    assert set(images(cluster)) == {"runtime:cpu"}
    assert cluster.status()["upgrade"]["state"] == "Waiting"
