"""Make the variants of the model, and prove each against it."""

import math

from onnxmodel_operator.api.spec.optimization import VARIANTS
from onnxmodel_operator.api.spec.optimization import Calibration as AskedCalibration
from onnxmodel_operator.plan.fetch import fetch
from onnxmodel_operator.plan.results import is_sha256
from onnxmodel_operator.plan.values import Advance, Ask, Context, Stop
from onnxmodel_runtime.contract.model import BATCH_FIRST, BATCH_NONE, BATCH_UNKNOWN, Tolerance
from onnxmodel_runtime.contract.optimize import ORIGINAL, Calibration, OptimizeRequest, OptimizeResult, Variant
from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.validate import ValidateResult
from onnxmodel_runtime.contract.volume import CALIBRATION_DATA_FOLDER, MODEL_FILE

STAGE = Stage.OPTIMIZE
_LONGEST = 1024  # what a pod's own arguments take of a variant's words


def ask(context: Context) -> Ask:
    """Ask for the spec's variants of the validated file."""
    spec = context.model.spec
    validated, source = context.result(ValidateResult), context.step(Stage.VALIDATE).directory
    parity, calibration = spec.optimization.parity, spec.optimization.calibration
    # What a variant that was not asked for needs does not make the others again.
    static = "int8-static" in spec.optimization.variants
    data = None
    if static and calibration.uri:  # in this Job, so that other data validate nothing again
        data = fetch(context, CALIBRATION_DATA_FOLDER, uri=calibration.uri, kind="calibration", home=spec.source.uri)
    request = OptimizeRequest(
        model=f"{source}/{MODEL_FILE}",
        sha256=validated.model.sha256,
        directory="",
        variants=tuple(sorted(set(spec.optimization.variants), key=VARIANTS.index)),
        graph_level=spec.optimization.graph_level,
        data_sha256=validated.data_sha256,
        # 1, an odd size and, in max_batch_size, the largest: some defects show at certain sizes only.
        batch_sizes=(1, 3),
        max_batch_size=spec.serving.batching.max_batch_size,
        tolerance=Tolerance(parity.relative, parity.absolute, parity.cosine),
        providers=context.platform.providers,
        calibration=_calibration(calibration) if static else Calibration(),
        calibration_data=data.directory if data else "",
        golden=validated.golden is not None,  # which mode Warn may have found unusable
        signer=validated.signer,
        batch=spec.validation.batch,
        sizes=validated.sizes,
    )
    return Ask(request, data)


def gate(context: Context, result: OptimizeResult) -> Advance | Stop:
    """Advance: the original is always among the variants, so there is always something to measure."""
    return Advance(context)


def believe(request: OptimizeRequest, result: OptimizeResult) -> str | None:
    """Expect variants with distinct names, each of which can be served or carries the reason why not."""
    names = [variant.name for variant in result.variants]
    if len(set(names)) != len(names) or len(names) > 16:
        return "two of its variants have the same name"
    if result.batch not in (BATCH_UNKNOWN, BATCH_FIRST, BATCH_NONE):
        return f"{result.batch[:20]!r} is not a valid batch axis"
    original = next((variant for variant in result.variants if variant.name == ORIGINAL), None)
    if original is None or not original.path:
        return "its variants do not include the original"
    return next((wrong for variant in result.variants if (wrong := _wrong(variant))), None)


def _wrong(variant: Variant) -> str | None:
    if variant.path and not is_sha256(variant.sha256):
        return f"variant {variant.name} has no digest"
    if not variant.path and not variant.skipped:
        return f"variant {variant.name} has neither a file nor a reason"
    if variant.path and variant.name != ORIGINAL and variant.parity is None:
        return f"variant {variant.name} was not compared with the original"
    if variant.unjoined and len(variant.unjoined) > _LONGEST:
        return f"variant {variant.name}: the reason why it is not batched is too long"
    parity = variant.parity
    if parity and not all(map(math.isfinite, (parity.max_absolute, parity.max_relative, parity.cosine))):
        return f"the parity of variant {variant.name} is not a number"
    return None


def _calibration(asked: AskedCalibration) -> Calibration:
    """A percentile that no method reads makes nothing again."""
    percentile = asked.percentile if asked.method == "Percentile" else Calibration().percentile
    return Calibration(asked.method, percentile, asked.samples)
