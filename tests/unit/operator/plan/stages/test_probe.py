from dev.results import probed
from onnxmodel_operator.plan.stages import probe
from onnxmodel_operator.plan.values import Advance
from onnxmodel_runtime.contract.stages import Stage
from tests.contexts import at, context


def test_the_service_is_asked_for_the_revision() -> None:
    known = at(Stage.PROBE, context(serving={"nodePool": "a100"}))
    asked = probe.ask(known)
    assert (asked.request.host, asked.request.revision) == ("magika.team-a.svc", known.target.short)
    assert asked.request.probe == known.target.request.probe
    assert (asked.placement, asked.covers) == (None, None)
    assert asked.depends_on == known.target.digest


def test_an_answer_ends_the_proof() -> None:
    known = at(Stage.PROBE)
    assert probe.gate(known, probed()) == Advance(known)
    assert probe.believe(probe.ask(known).request, probed()) is None
