"""Results as text for people."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from onnxmodel_runtime.checks import SEVERITIES
from onnxmodel_runtime.contract.benchmark import BenchmarkResult, Point
from onnxmodel_runtime.contract.codec import as_data
from onnxmodel_runtime.contract.loadtest import LoadTestResult
from onnxmodel_runtime.contract.model import BATCH_NONE, Tensor
from onnxmodel_runtime.contract.optimize import OptimizeResult, Variant
from onnxmodel_runtime.contract.probe import ProbeResult
from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.contract.repository import RepositoryResult
from onnxmodel_runtime.contract.stages import Result
from onnxmodel_runtime.contract.text import in_words, plain
from onnxmodel_runtime.contract.validate import Finding, ValidateResult
from onnxmodel_runtime.errors import size


def text(result: Result) -> str:
    """Return the result as a person reads it: field by field where no better form is known."""
    return _FORMS.get(type(result), _fields)(result)


def table(rows: Iterable[Sequence[object]]) -> str:
    """Format columns as wide as their widest cell."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _validate(result: ValidateResult) -> str:
    model = result.model
    facts: list[tuple[str, str]] = [
        ("sha256", model.sha256),
        ("size", size(model.bytes)),
        ("producer", model.producer or "-"),
        ("IR version", str(model.ir_version)),
        ("opset", str(model.opset)),
        ("nodes", f"{model.nodes:,}"),
        ("parameters", f"{model.parameters:,}"),
        *(("input", _tensor(tensor, model.unranked)) for tensor in model.inputs),
        *(("output", _tensor(tensor, model.unranked)) for tensor in model.outputs),
        ("batch", _batch(result)),
    ]
    if result.uri:
        facts.insert(0, ("source", result.uri))
    if result.signer:
        facts.insert(1, ("signed by", result.signer))
    if (golden := result.golden) is not None:
        judged = "passed" if golden.passed else "FAILED"
        numbers = f"max difference {golden.max_absolute:g}, cosine {golden.cosine:g}"
        facts.append(("golden data", f"{judged}, {numbers} at output {golden.output}"))
    return f"{table(facts)}\n\n{findings(result.findings)}"


def findings(found: Sequence[Finding]) -> str:
    """Format findings, the worst first, and the number of each severity."""
    if not found:
        return "no findings"
    counts = Counter(finding.severity for finding in found)
    total = ", ".join(
        f"{counts[name]} {name if name == 'info' or counts[name] == 1 else f'{name}s'}"
        for name in SEVERITIES
        if counts[name]
    )
    return "\n\n".join([*(_finding(finding) for finding in found), total])


def _tensor(tensor: Tensor, unranked: Sequence[str]) -> str:
    shape = "any shape" if tensor.name in unranked else str(list(tensor.shape))
    return f"{tensor.name}  {tensor.datatype}  {shape}"


def _batch(result: ValidateResult) -> str:
    """Describe the batch axis, and whether a server may batch requests."""
    if result.unbatched:
        return f"none, each request is one inference: {result.unbatched}"
    if result.unjoined is None:
        return "axis 0"
    joined = f"requests are not batched: {result.unjoined}" if result.unjoined else "requests may be batched"
    return f"axis 0, as far as the graph shows; {joined}"


def _finding(finding: Finding) -> str:
    lines = [f"{finding.severity.upper()} {finding.id}  {finding.message}"]
    if finding.target and finding.target not in finding.message:
        lines.append(f"  at: {finding.target}")
    if finding.fix:
        lines.append(f"  fix: {finding.fix}")
    return "\n".join(lines)


def _optimize(result: OptimizeResult) -> str:
    rows: list[Sequence[object]] = [
        ("VARIANT", "NODES", "SIZE", "SAVED", "GRAPH LEVEL", "PARITY", "MAX ABS", "COSINE", "TOP-1", "SHA256")
    ]
    original = result.variants[0].bytes or 1
    for variant in result.variants:
        parity = variant.parity
        judged = ("passed" if parity.passed else "FAILED") if parity else "reference"
        numbers = (f"{parity.max_absolute:g}", f"{parity.cosine:g}") if parity else ("-", "-")
        top1 = "-" if parity is None or parity.top1 is None else f"{100 * parity.top1:g} %"
        if variant.skipped:
            rows.append((variant.name, *"----", "skipped", "", "", "", ""))
        else:
            rows.append(
                (
                    variant.name,
                    variant.nodes,
                    size(variant.bytes),
                    f"{100 - 100 * variant.bytes / original:.1f} %",
                    variant.graph_level,
                    judged,
                    *numbers,
                    top1,
                    variant.sha256[:12],
                )
            )
    lines = [line for variant in result.variants for line in _told(variant)]
    lines += [f"no batch axis: {result.unbatched}"] if result.unbatched else []
    return "\n".join((table(rows), "", *lines, _provider(result.provider), f"probe: {result.probe}"))


def _told(variant: Variant) -> list[str]:
    """A variant's passes, each with what it left or why it left nothing, and what to know of the variant."""
    passes = [
        f"{one.name} {f'skipped ({one.note})' if one.note else f'{one.nodes} nodes, {size(one.bytes)}'}"
        for one in variant.passes
    ]
    said = [f"{variant.name}: {', '.join(passes)}"] if passes else []
    if variant.skipped and variant.skipped not in "".join(said):
        said.append(f"{variant.name} was skipped: {variant.skipped}")
    return [*said, f"{variant.name}: {variant.note}"] if variant.note else said


def _benchmark(result: BenchmarkResult) -> str:
    head = (
        "VARIANT",
        "BATCH",
        "CONCURRENCY",
        "P50 MS",
        "P90 MS",
        "P95 MS",
        "P99 MS",
        _unit(result),
        "SAMPLES",
        "STABLE",
    )
    rows: list[Sequence[object]] = [head]
    for p in result.points:
        rows.append((p.variant, p.batch_size, p.concurrency, *_figures(p)))
    loads = [
        f"{name}: loaded in {plain(seconds)} s, {size(result.memory_bytes.get(name, 0))} more resident memory"
        for name, seconds in result.load_seconds.items()
    ]
    loads += [f"{name} was left out: {why}" for name, why in result.left_out.items()]
    machine = result.environment
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    on = f"{machine.processor}, {machine.cores:g} cores{', ' + machine.accelerator if machine.accelerator else ''}"
    at = [f"sizes: {in_words(result.sizes)}"] if result.sizes else []
    return "\n".join((table(rows), "", *loads, *at, _provider(result.provider), on, versions))


def _loadtest(result: LoadTestResult) -> str:
    head = ("BATCH", "CONCURRENCY", "P50 MS", "P90 MS", "P95 MS", "P99 MS", _unit(result), "SAMPLES", "STABLE")
    return table([head, *((p.batch_size, p.concurrency, *_figures(p)) for p in result.points)])


def _unit(result: BenchmarkResult | LoadTestResult) -> str:
    return "INFERENCES/S" if result.batch == BATCH_NONE else "ROWS/S"


def _figures(p: Point) -> tuple[object, ...]:
    numbers = (plain(value) for value in (p.p50, p.p90, p.p95, p.p99, p.throughput))
    return (*numbers, p.samples, "noisy" if p.noisy else "yes")


def _probe(result: ProbeResult) -> str:
    used = f"\n{_provider(result.provider)}" if result.provider else ""
    return (
        f"HTTP {plain(result.http_milliseconds)} ms, gRPC {plain(result.grpc_milliseconds)} ms, max "
        f"difference {result.max_absolute:g}{used}"
    )


def _provider(use: ProviderUse) -> str:
    nodes = ", ".join(f"{name} {count}" for name, count in use.nodes.items())
    return f"provider: {use.name} runs {use.share_percent:g} % of the nodes{f' ({nodes})' if nodes else ''}"


def _repository(result: RepositoryResult) -> str:
    return Path(result.config).read_text(encoding="utf-8").rstrip()


def _fields(result: Any) -> str:
    return table(as_data(result).items())


_FORMS: dict[type[Any], Callable[[Any], str]] = {
    ValidateResult: _validate,
    OptimizeResult: _optimize,
    BenchmarkResult: _benchmark,
    LoadTestResult: _loadtest,
    ProbeResult: _probe,
    RepositoryResult: _repository,
}
