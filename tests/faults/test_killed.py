"""The operator is killed before and after every single write of a life: the end is the same, and no Job is made twice."""

import pytest

from dev.kube import Kube
from tests.faults.cases import Case, Killing
from tests.faults.moments import MOMENTS, RUNTIMES
from tests.faults.played import Played
from tests.faults.runs import Run, run, same

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def killed(reference: Run, control_plane: Kube, played: Played, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A life in which each write kills, twice."""
    return run(Case(), control_plane, played, tmp_path_factory.mktemp("killed"), reference, Killing, seconds=900)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_every_write_the_end_is_the_same(killed, reference, moment, runtime):
    same(killed, reference, moment, runtime)


def test_it_was_killed_before_and_after_each_write(killed, record_property):
    assert isinstance(killed.scene, Killing)
    before = [path for path, answered in killed.scene.points if not answered]
    after = [path for path, answered in killed.scene.points if answered]
    record_property(
        "figure", f"The operator was killed {len(before)} times before a write and {len(after)} times after one."
    )
    assert len(after) > 50
    assert "Traceback" not in killed.log
