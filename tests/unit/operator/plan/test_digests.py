"""What a digest covers besides the request."""

from dataclasses import fields, replace

import pytest

from onnxmodel_operator.plan import digests
from onnxmodel_operator.platform.resolve import Placement
from onnxmodel_operator.platform.settings import Pool, Resources
from onnxmodel_runtime.contract.serve import ServeRequest

PLACED = Placement(image="runtime:1", pool=Pool(), resources=Resources(), gpus=0)
OTHER = {
    "image": "runtime:2",
    "pool": Pool(node_selector={"zone": "b"}),
    "resources": Resources(limits={"cpu": "2"}),
    "gpus": 1,
}


@pytest.mark.parametrize("name", [field.name for field in fields(Placement)])
def test_each_field_of_a_placement_is_covered(name):
    request = ServeRequest(name="mlp", model="/artifacts/m", sha256="a" * 64)
    before, after = (
        digests.of_revision("claim", request, placement, "")
        for placement in (PLACED, replace(PLACED, **{name: OTHER[name]}))
    )
    assert before != after
