"""Which of the scheduler's sentences mean that GPUs are short."""

import pytest

from onnxmodel_operator.plan.shortage import specific
from onnxmodel_operator.platform.settings import Pool
from onnxmodel_runtime.contract.outcome import Failure
from tests import contexts
from tests.builders import SETTINGS

CLAIMED = Pool.model_validate({"resourceClaimTemplateName": "one-gpu", "executionProviders": ["CUDA", "CPU"]})
KNOWN = contexts.platform(pools={**SETTINGS.pools, "claimed": CLAIMED})
NODES = "pod p is not scheduled: 0/2 nodes are available"


def told(pool, message, reason="Unschedulable"):
    return specific(contexts.context(settings=KNOWN, serving={"nodePool": pool}), Failure(reason, message, "Wait."))


@pytest.mark.parametrize(
    ("pool", "message", "hint"),
    [
        ("a100", f"{NODES}: 2 Insufficient nvidia.com/gpu.", "Pool a100 has no node with 1 free nvidia.com/gpu."),
        ("a100", f"{NODES}: 1 Insufficient cpu, 2 Insufficient nvidia.com/gpu. preemption: none", "nvidia.com/gpu"),
        ("claimed", f"{NODES}: 2 cannot allocate all claims.", "1 free device(s) for ResourceClaimTemplate one-gpu"),
        ("claimed", f"{NODES}: device class gpu.example.com does not exist", "ResourceClaimTemplate one-gpu"),
    ],
)
def test_gpus_are_short(pool, message, hint):
    found = told(pool, message)
    assert (found.reason, found.message) == ("InsufficientGPU", message)
    assert hint in found.hint


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ("a100", f"{NODES}: 2 Insufficient nvidia.com/gpu.shared."),
        ("a100", f"{NODES}: 2 Insufficient nvidia.com/gpu-shared."),
        ("a100", f"{NODES}: 2 Insufficient memory."),
        ("default", f"{NODES}: 2 Insufficient nvidia.com/gpu."),
        ("default", f"{NODES}: 2 cannot allocate all claims."),
    ],
)
def test_something_else_is_short(pool, message):
    assert told(pool, message) == Failure("Unschedulable", message, "Wait.")


def test_another_reason_stays():
    assert told("a100", "Insufficient nvidia.com/gpu", "SchedulerError").reason == "SchedulerError"
