"""Where a stage runs follows from the table."""

from dataclasses import replace

import pytest

from onnxmodel_operator.plan import stages
from onnxmodel_operator.plan.stages import optimize
from onnxmodel_runtime.contract.stages import STAGES, Stage
from tests.contexts import at


@pytest.mark.parametrize("as_server", [True, False])
def test_the_column_places_the_job(monkeypatch: pytest.MonkeyPatch, as_server: bool) -> None:
    row = replace(STAGES[Stage.OPTIMIZE], as_server=as_server)
    monkeypatch.setattr(stages, "STAGES", {**STAGES, Stage.OPTIMIZE: row})
    known = at(Stage.OPTIMIZE)
    step = stages.look(optimize)(known).context.steps[-1]
    assert step.placement == (known.platform.server if as_server else known.platform.client)
    assert known.platform.server != known.platform.client
