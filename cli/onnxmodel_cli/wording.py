"""Word failures and findings for a person's machine: options in place of a manifest's fields, and no cluster.

Reasons and fields are API; sentences are not. In a sentence the names of fields are replaced, and the two things that only
a cluster has, a Secret and a platform team, are cut by the words that hints have for them: tests/unit/cli/test_wording.py
asks every hint of the runtime.
"""

import re
from collections.abc import Collection
from dataclasses import replace

from onnxmodel_runtime.contract.optimize import OptimizeResult
from onnxmodel_runtime.contract.outcome import Failure, Outcome
from onnxmodel_runtime.contract.validate import Finding, ValidateResult

_OPTIONS = {
    "spec.source.sha256": "--sha256",
    "spec.source.uri": "MODEL",
    "spec.validation.batch": "--batch",
    "spec.validation.dynamicBatch": "--dynamic-batch",
    "spec.validation.golden": "--golden",
    "spec.validation.mode": "--mode",
    "spec.validation.opset.min": "--opset-min",
    "spec.optimization.graphLevel": "--graph-level",
    "spec.optimization.variants": "--variants",
    "spec.optimization.parity": "--relative, --absolute or --cosine",
    "spec.benchmark.batchSizes": "--batch-sizes",
    "spec.benchmark.concurrency": "--concurrency",
    "spec.serving.executionProviders": "--providers",
    "spec.serving.fallback": "--fallback",
    "spec.serving.instances": "--instances",
    "spec.serving.resources.limits.memory": "--memory",
    "spec.serving.batching.maxBatchSize": "--max-batch-size",
    "spec.serving.batching.maxQueueSize": "--max-queue-size",
    "spec.serving.batching.maxQueueDelayMicroseconds": "--max-queue-delay",
    "spec.serving.batching.preferredBatchSizes": "--preferred-batch-sizes",
    "spec.serving.batching.defaultTimeoutMicroseconds": "--default-timeout",
}
_FIELD = re.compile(r"(?:spec|\bserving\.batching)(?:\.[A-Za-z]+)+(?:(?=: (?:None|Allow|Warn|\d))(: ))?")
_SECRET = re.compile(r"the Secret (?:in spec\.source\.secretRef|that spec\.source\.secretRef names)")
_PLATFORM = re.compile(r"(?:, or|; if it must be this one,) ask the platform team to .*$")
_HINTS = {
    "InternalError": "This is a bug in onnxmodel: please report it with the output above.",
    "Interrupted": "Run it again.",
    "LoadFailed": "Run onnxmodel validate on the file: it reports what is wrong with it.",
    "ModelUnreadable": "Check the path, and that your user may read the file.",
    "NotServed": "Use the server's name (--name).",
    "OutOfMemory": "Run it with more memory, or use a smaller batch, or a smaller or quantized model.",
    "ProbeMismatch": "Use the probe that optimize wrote for the model that is served (--probe).",
    "ProbeUnreadable": "Use the probe.npz that onnxmodel optimize wrote.",
    "ProviderUnavailable": "Install an ONNX Runtime that has it (onnxruntime-gpu for CUDA and TensorRT), list another one "
    "first, or allow a fallback (spec.serving.fallback: Allow).",
    "ServiceUnreachable": "Start the server (onnxmodel serve MODEL --name NAME), and use the host and ports that it "
    "prints.",
    "SourceUnreachable": "Check the host's name, that it is up, and that this machine can reach it. Then run it again.",
    "StorageForbidden": "Give your user permission to use it, or use another place.",
    "StoreForbidden": "Check the keys of the store in the environment, and their permissions.",
    "StorageFull": "Free space there, or use another folder.",
}


def worded(outcome: Outcome, options: Collection[str] = ()) -> Outcome:
    """Word the outcome for the person who ran the command.

    options: those of the command, in place of fields; none where a manifest holds the fields.
    """
    failure, result = outcome.failure, outcome.result
    if failure is not None:
        failure = _failure(failure, outcome.findings, options)
    if isinstance(result, ValidateResult):
        result = replace(result, findings=_findings(result.findings, options))
    if isinstance(result, ValidateResult | OptimizeResult) and options:
        result = replace(result, unbatched=in_options(result.unbatched, options))
    return replace(outcome, failure=failure, result=result, findings=_findings(outcome.findings, options))


def _failure(failure: Failure, findings: tuple[Finding, ...], options: Collection[str]) -> Failure:
    """A finding knows better than its reason what to do."""
    known = failure.hint in {finding.fix for finding in findings}
    hint = failure.hint if known else _HINTS.get(failure.reason, failure.hint)
    hint = _SECRET.sub("the environment", hint)
    if not options:
        return replace(failure, hint=hint)
    if failure.reason == "TimedOut" and "--timeout" in options:
        hint += " Or raise --timeout (0: no limit)."
    field = _OPTIONS.get(failure.field, failure.field)
    shown = field if field.split(",")[0] in options else ""
    message = in_options(failure.message, options)
    return replace(failure, message=message, hint=in_options(hint, options), field=shown)


def _findings(findings: tuple[Finding, ...], options: Collection[str]) -> tuple[Finding, ...]:
    if not options:
        return findings
    return tuple(
        replace(each, message=in_options(each.message, options), fix=in_options(each.fix, options)) for each in findings
    )


def in_options(text: str, options: Collection[str]) -> str:
    """Replace the fields of a manifest in a text by the command's options, and leave out the platform team."""

    def option(match: re.Match[str]) -> str:
        field = match[0].removesuffix(": ")
        name = _OPTIONS.get(field if field.startswith("spec.") else f"spec.{field}", "")
        if name != "MODEL" and name.split(",")[0] not in options:
            return f"{field} of a manifest (onnxmodel run){match[1] or ''}"
        return name + (" " if match[1] else "")

    return _FIELD.sub(option, _PLATFORM.sub(".", text))
