"""GPU shortage: a pod that no node can run because the pool has too few of them."""

import re

from onnxmodel_operator.plan.values import Context
from onnxmodel_runtime.contract.outcome import Failure

_NO_DEVICE = ("cannot allocate all claims", "device class")


def specific(context: Context, failure: Failure) -> Failure:
    """Return the failure of a pod without a node, in the words of its pool where GPUs are what it lacks."""
    if failure.reason != "Unschedulable":
        return failure
    server, model = context.platform.server, context.model
    template, message = server.pool.resource_claim_template_name, failure.message
    pool = model.spec.serving.node_pool or context.settings.defaults.pool
    ways = "Add one, wait until other pods free theirs, or change spec.serving.nodePool or gpus"
    if template and any(words in message for words in _NO_DEVICE):
        hint = (
            f"Pool {pool} has no node with {server.gpus} free device(s) for ResourceClaimTemplate {template}. {ways}: "
            "kubectl get resourceslices, deviceclasses"
        )
        return Failure("InsufficientGPU", message, hint)
    if server.pool.gpu_resource and _lacks(message, server.pool.gpu_resource):
        hint = f"Pool {pool} has no node with {server.gpus} free {server.pool.gpu_resource}. {ways}."
        return Failure("InsufficientGPU", message, hint)
    return failure


def _lacks(message: str, resource: str) -> bool:
    """Return whether the scheduler names this very resource: nvidia.com/gpu is not nvidia.com/gpu.shared."""
    return bool(re.search(rf"Insufficient {re.escape(resource)}(?![-\w/]|\.\w)", message))
