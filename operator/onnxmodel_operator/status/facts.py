"""Fill the facts of a model: the model itself, findings, variants and benchmark."""

from onnxmodel_operator.api.status import (
    BenchmarkStatus,
    FindingStatus,
    Measured,
    ModelStatus,
    ParityStatus,
    TensorStatus,
    VariantStatus,
)
from onnxmodel_operator.observe.memory import Memory
from onnxmodel_operator.plan.values import Plan
from onnxmodel_operator.selection import Choice, Numbers, Verdict
from onnxmodel_runtime.contract.benchmark import BenchmarkResult
from onnxmodel_runtime.contract.model import BATCH_FIRST, BATCH_NONE, Tensor
from onnxmodel_runtime.contract.optimize import OptimizeResult
from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.validate import ValidateResult
from onnxmodel_runtime.contract.volume import REPORT_PAGE

_FINDINGS = 20


def model_status(plan: Plan) -> ModelStatus | None:
    """Return the validated model. None until there is one."""
    result = plan.result(ValidateResult)
    if result is None:
        return None
    facts = result.model
    optimized = plan.result(OptimizeResult)
    return ModelStatus(
        sha256=facts.sha256,
        bytes=facts.bytes,
        ir_version=facts.ir_version,
        opset=facts.opset,
        producer=facts.producer[:253],
        nodes=facts.nodes,
        parameters=facts.parameters,
        inputs=_tensors(facts.inputs),
        outputs=_tensors(facts.outputs),
        uri=result.uri[:2048],
        signer=result.signer[:253] or None,
        batch=optimized.batch if optimized and optimized.batch in (BATCH_FIRST, BATCH_NONE) else None,
        unbatched=(optimized.unbatched[:2048] or None) if optimized else None,
    )


def _tensors(tensors: tuple[Tensor, ...]) -> list[TensorStatus]:
    return [TensorStatus(name=t.name[:253], datatype=t.datatype, shape=list(t.shape)[:16]) for t in tensors[:64]]


def finding_statuses(plan: Plan, old: Memory) -> list[FindingStatus] | None:
    """Return the findings of the validation, from its result, a rejection's pod, or the stored status."""
    step = next((step for step in plan.steps if step.stage is Stage.VALIDATE), None)
    if step is None:
        return None
    result = plan.result(ValidateResult)
    found = result.findings if result else step.seen.ended.findings if step.seen and step.seen.ended else ()
    if result is None and step.seen and step.state == "Failed" and not step.seen.pods:
        return list(old.findings) or None
    if not found:
        return None
    return [
        FindingStatus(
            id=f.id[:253],
            severity=f.severity if f.severity in ("error", "info") else "warning",
            target=f.target[:253],
            message=f.message[:2048],
            fix=f.fix[:2048],
        )
        for f in found[:_FINDINGS]
    ]


def variant_statuses(choice: Choice) -> list[VariantStatus]:
    """Return every requested variant, in the order of the request, the original first."""
    original = choice.verdicts[0].variant.bytes  # the original comes first
    return [_variant(verdict, original) for verdict in choice.verdicts]


def _variant(verdict: Verdict, original: int) -> VariantStatus:
    variant, parity = verdict.variant, verdict.variant.parity
    return VariantStatus(
        name=variant.name,
        sha256=variant.sha256 or None,
        bytes=variant.bytes or None,
        nodes=variant.nodes or None,
        saved_percent=round((1 - variant.bytes / original) * 100, 1) if original and variant.bytes else None,
        graph_level=variant.graph_level[:253] if variant.path else None,
        parity=ParityStatus(
            passed=parity.passed,
            max_absolute=parity.max_absolute,
            max_relative=parity.max_relative,
            cosine=parity.cosine,
            output=parity.output[:253],
            batch_sizes=list(parity.batch_sizes),
            top1=parity.top1,
        )
        if parity
        else None,
        measured=measured_status(verdict.numbers) if verdict.numbers else None,
        satisfies_constraints=not verdict.missed if verdict.numbers else None,
        selected=verdict.selected,
        reason=verdict.reason[:2048],
    )


def measured_status(numbers: Numbers) -> Measured:
    """Return a candidate's numbers."""
    return Measured(
        p50_milliseconds=numbers.p50,
        p90_milliseconds=numbers.p90 or None,
        p95_milliseconds=numbers.p95,
        p99_milliseconds=numbers.p99,
        throughput_per_second=numbers.throughput,
        batch_size=numbers.batch_size,
        concurrency=numbers.concurrency,
        noisy=numbers.noisy or None,
    )


def benchmark_status(plan: Plan) -> BenchmarkStatus | None:
    """Return the newest benchmark. None until a winner is chosen."""
    choice: Choice | None = plan.choice
    result = plan.result(BenchmarkResult)
    if choice is None or result is None or choice.winner.numbers is None:
        return None
    machine = result.environment
    step = next(step for step in plan.steps if step.stage is Stage.BENCHMARK)
    return BenchmarkStatus(
        variant=choice.winner.variant.name,
        speedup=round(choice.speedup, 3),
        reason=choice.sentence[:2048],
        framework=choice.framework,
        framework_speedup=choice.framework_speedup,
        report=f"{step.directory}/{REPORT_PAGE}"[:253],
        winner=measured_status(choice.winner.numbers),
        baseline=measured_status(choice.baseline),
        sizes={name[:253]: size for name, size in list(result.sizes.items())[:64]} or None,
        processor=machine.processor[:253],
        accelerator=machine.accelerator[:253],
        cores=machine.cores,
        versions={key[:64]: value[:253] for key, value in list(machine.versions.items())[:16]},
    )
