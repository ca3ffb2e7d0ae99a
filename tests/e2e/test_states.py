"""What GitOps tools conclude from every state of every model that the tests before this one brought about."""

from dev.kube import found, is_true, until
from tests.e2e.support import model
from tests.gitops import check_health, check_status, kstatus


def test_every_recorded_state_keeps_the_contract(kube, recorded):
    if len(recorded.states()) < 50:  # this test alone was asked for
        kube.apply(model("seen"))
        until("Ready", found(kube, "seen", true="Ready"), seconds=360)
    states = recorded.states()
    assert len(states) >= 8
    for state in states:
        if "conditions" not in state["status"]:
            assert kstatus(state) == "InProgress", "new, and not seen by the operator"
            continue
        check_health(state)
        check_status(state)
    assert any(is_true(state, "Ready") for state in states)
    print(f"{len(states)} states of {len({s['metadata']['uid'] for s in states})} models")
