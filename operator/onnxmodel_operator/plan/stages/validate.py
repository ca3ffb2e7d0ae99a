"""Fetch the model and judge it: its digest, its signature, and every check of the catalogue."""

from typing import Any

from onnxmodel_operator import quantity
from onnxmodel_operator.api.spec.source import Signature
from onnxmodel_operator.plan.fetch import fetch
from onnxmodel_operator.plan.results import LARGEST, is_sha256, odd_sizes
from onnxmodel_operator.plan.values import Advance, Ask, Context, Stop
from onnxmodel_operator.platform import policy
from onnxmodel_operator.platform.resolve import Resolved
from onnxmodel_runtime.contract.model import Tensor, Tolerance
from onnxmodel_runtime.contract.providers import GPU_PROVIDERS
from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.validate import PUBLIC_KEY_VARIABLE, SignatureRule, ValidateRequest, ValidateResult
from onnxmodel_runtime.contract.volume import SOURCE_FOLDER

STAGE = Stage.VALIDATE


def ask(context: Context) -> Ask:
    """Ask for a validation of the whole model against the demands of the spec and the platform."""
    spec, rules, platform = context.model.spec, context.settings.policy, context.platform
    golden, signature = spec.validation.golden, spec.source.signature
    source = fetch(
        context,
        SOURCE_FOLDER,
        uri=spec.source.uri,
        sha256=spec.source.sha256 or "",
        files=spec.source.files,
        signature_uri=signature.uri if signature else "",
        golden_uri=golden.uri if golden else "",
    )
    request = ValidateRequest(
        directory=source.directory,
        sha256=source.sha256,
        files=source.files,
        pin_all=policy.pinned(context.model, rules),
        opset_floor=rules.min_opset if rules.min_opset > 1 else 0,
        signature=_signature(signature) if signature else None,
        golden=Tolerance(**golden.tolerance.model_dump()) if golden else None,
        providers=platform.providers.names,
        domains=rules.operator_domains,
        opset_min=spec.validation.opset.min,
        dynamic_batch=spec.validation.dynamic_batch,
        batch=spec.validation.batch,
        inputs=_tensors(spec.validation.inputs),
        outputs=_tensors(spec.validation.outputs),
        sizes=dict(spec.validation.sizes),
        mode=spec.validation.mode,
        serving_memory=_serving_memory(platform),
        max_batch_size=spec.serving.batching.max_batch_size,
        max_nodes=rules.max_nodes,
        max_depth=rules.max_nesting,
    )
    key = signature.public_key_ref if signature else None
    return Ask(request, source, placement=platform.validator, public_key=key)


def gate(context: Context, result: ValidateResult) -> Advance | Stop:
    """Advance: a rejected model fails its Job, so one with a result has passed."""
    return Advance(context)


def believe(request: ValidateRequest, result: ValidateResult) -> str | None:
    """Expect facts that can be stored, of the requested model."""
    facts = result.model
    if wrong := odd_sizes(result.sizes):
        return wrong
    if not is_sha256(facts.sha256):
        return "the model has no digest"
    if request.sha256 and request.sha256 != facts.sha256:
        return f"the model's digest is {facts.sha256}, but source.sha256 is {request.sha256}"
    numbers = [facts.bytes, facts.ir_version, facts.opset, facts.nodes, facts.parameters]
    numbers += [axis for tensor in (*facts.inputs, *facts.outputs) for axis in tensor.shape]
    sound = all(-1 <= number <= LARGEST for number in numbers)
    return None if sound else "one of the model's numbers is out of range"


def _serving_memory(platform: Resolved) -> int:
    """Bytes that the server may use; 0 where no limit is set, or where a GPU holds what a run on the CPU would need."""
    if platform.providers.names[0] in GPU_PROVIDERS:
        return 0
    return int(quantity.parse(platform.server.resources.limits.get("memory", "0")))


def _signature(signature: Signature) -> SignatureRule:
    if signature.identity:
        return SignatureRule(identity=signature.identity.identity, issuer=signature.identity.issuer)
    key = signature.public_key_ref
    assert key is not None
    return SignatureRule(public_key=f"env:{PUBLIC_KEY_VARIABLE}", origin=f"{key.name}/{key.key}")


def _tensors(contracts: list[Any] | None) -> tuple[Tensor, ...]:
    return tuple(Tensor(item.name, item.datatype, tuple(item.shape)) for item in contracts or ())
