"""Each fault, at each moment of a life, by both runtimes: the end is the one without faults, and no Job is made twice."""

import pytest

from dev.kube import Kube
from tests.faults.cases import CASES
from tests.faults.moments import MOMENTS, RUNTIMES
from tests.faults.played import Played
from tests.faults.runs import Run, run, same

pytestmark = pytest.mark.timeout(1800)  # a life under one fault, and the one without


@pytest.fixture(scope="module")
def outcome(
    request: pytest.FixtureRequest,
    reference: Run,
    control_plane: Kube,
    played: Played,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """The life under one fault."""
    return run(CASES[request.param], control_plane, played, tmp_path_factory.mktemp(request.param), reference)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("outcome", CASES, indirect=True)
def test_the_end_is_the_one_without_the_fault(outcome, reference, moment, runtime):
    same(outcome, reference, moment, runtime)


@pytest.mark.parametrize("outcome", CASES, indirect=True)
def test_the_operator_lives_on_and_calls_no_fault_its_own(outcome, request):
    case = CASES[request.node.callspec.params["outcome"]]
    print(outcome.log)
    assert set(outcome.codes) <= {0} | case.ended
    assert "internal error" not in outcome.log
    assert "Traceback" not in outcome.log
