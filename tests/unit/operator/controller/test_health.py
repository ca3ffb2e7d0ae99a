"""What /healthz and /readyz say, and when."""

import pytest

from onnxmodel_operator.__main__ import main
from onnxmodel_operator.cluster.lease import LEASE_SECONDS
from onnxmodel_operator.controller.health import DEAF_SECONDS, SILENT_SECONDS, STUCK_SECONDS, Health, PortError, serve


class World:
    def __init__(self, *, began=True):
        self.now, self.depth, self.silent, self.unsynced = 0.0, 0, {"Job": 0.0, "Pod": 0.0}, []
        self.failed = 3600.0
        watches = {kind: lambda kind=kind: self.silent[kind] for kind in self.silent}
        self.health = Health(
            lambda: self.depth, watches, lambda: self.unsynced, lambda: self.failed, clock=lambda: self.now
        )
        self.health.began = began


async def test_a_port_that_is_taken_is_said_in_one_sentence():
    first = await serve(World().health, 0)
    port = first.addresses[0][1]
    with pytest.raises(PortError, match=rf"^cannot listen on port {port} \(.*\): set another one with --port$"):
        await serve(World().health, port)
    await first.cleanup()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "99999"], "'99999' is not a valid port: 0 to 65535"),
        (["--port", "-1"], "'-1' is not a valid port"),
        (["--lease-namespace", "../x"], "'../x' is not a valid namespace name"),
        ([], "the settings are invalid: "),
    ],
)
def test_what_the_command_line_gets_wrong_is_said(arguments, said, monkeypatch, capsys, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_bytes(b"\xff")
    monkeypatch.setattr("sys.argv", ["onnxmodel_operator", "--settings", str(settings), *arguments])
    try:
        code: str | int | None = main()
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert said in capsys.readouterr().err


def test_a_standby_is_alive_and_ready_and_a_leader_is_ready_once_everything_is_known():
    world = World(began=False)
    world.unsynced = ["Pod", "Job"]
    world.silent["Job"] = DEAF_SECONDS
    assert (world.health.sick(), world.health.waits()) == (None, None), "a standby watches nothing"
    world.health.began = True
    assert (world.health.sick(), world.health.waits()) == (None, "not synced: Job, Pod")
    world.silent["Job"] = 0.0
    world.unsynced = []
    assert (world.health.sick(), world.health.waits()) == (None, None)


@pytest.mark.parametrize("began", [False, True], ids=["standby", "leader"])
def test_who_cannot_reach_the_lease_is_alive_and_not_ready(began):
    world = World(began=began)
    world.health.unreached = lambda: world.now
    world.now = LEASE_SECONDS - 1
    assert world.health.waits() is None
    world.now = LEASE_SECONDS
    assert world.health.waits() == "the Lease could not be read or renewed for 15 seconds"
    assert world.health.sick() is None, "a restart mends neither a missing right nor the network"


def test_one_that_is_about_to_end_is_neither_alive_nor_ready():
    world = World()
    world.health.ending = True
    assert (world.health.sick(), world.health.waits()) == ("it is terminating",) * 2


def test_a_queue_that_gets_nothing_done_is_stuck():
    world = World()
    world.depth = 3
    assert world.health.sick() is None
    world.now += STUCK_SECONDS
    assert world.health.sick() == "the queue is stuck"
    world.health.beat()
    assert world.health.sick() is None


def test_a_deaf_watch_is_mended_by_a_restart_and_an_api_server_that_is_away_is_not():
    world = World()
    world.silent["Job"] = SILENT_SECONDS
    assert world.health.waits() == "no sign of life from the watch of Job"
    assert world.health.sick() is None
    world.silent["Job"] = DEAF_SECONDS
    assert world.health.sick() == "the watch of Job is dead"
    world.silent["Pod"] = DEAF_SECONDS
    assert world.health.sick() == "the watch of Job, Pod is dead", "and no request says that the API server is away"
    world.failed = 5.0
    assert world.health.sick() is None
    assert world.health.waits() == "no sign of life from the watch of Job, Pod"
    world.silent["Pod"] = 0.0
    assert world.health.sick() == "the watch of Job is dead"
