"""What /healthz and /readyz say, and when."""

from onnxmodel_operator.web import DEAF_SECONDS, SILENT_SECONDS, STUCK_SECONDS, Health


class World:
    def __init__(self):
        self.now, self.depth, self.silent = 0.0, 0, {"Job": 0.0, "Pod": 0.0}
        watches = {kind: lambda kind=kind: self.silent[kind] for kind in self.silent}
        self.health = Health(lambda: self.depth, watches, clock=lambda: self.now)


def test_before_everything_is_known_it_is_alive_and_not_ready():
    world = World()
    assert (world.health.sick(), world.health.waits()) == (None, "not synced")
    world.silent["Job"] = DEAF_SECONDS
    assert world.health.sick() is None, "a standby watches nothing"
    world.silent["Job"] = 0.0
    world.health.ready = True
    assert (world.health.sick(), world.health.waits()) == (None, None)


def test_a_queue_that_gets_nothing_done_is_stuck():
    world = World()
    world.health.ready, world.depth = True, 3
    assert world.health.sick() is None
    world.now += STUCK_SECONDS
    assert world.health.sick() == "the queue is stuck"
    world.health.beat()
    assert world.health.sick() is None


def test_one_deaf_watch_is_mended_by_a_restart_and_an_api_server_that_is_away_is_not():
    world = World()
    world.health.ready = True
    world.silent["Job"] = SILENT_SECONDS
    assert world.health.waits() == "no sign of life from the watch of Job"
    assert world.health.sick() is None
    world.silent["Job"] = DEAF_SECONDS
    assert world.health.sick() == "the watch of Job is deaf"
    world.silent["Pod"] = DEAF_SECONDS
    assert world.health.sick() is None
    assert world.health.waits() == "no sign of life from the watch of Job, Pod"
