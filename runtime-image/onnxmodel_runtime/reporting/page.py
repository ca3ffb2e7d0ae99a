"""report.html: one file that explains a benchmark to people, without scripts and without anything from elsewhere.

Names of tensors, operators and passes come from a model, which nobody trusts: all of them are escaped, shortened, and
bounded in number, and the page forbids scripts besides.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from onnxmodel_runtime.contract.benchmark import Candidate, Point
from onnxmodel_runtime.contract.model import BATCH_NONE
from onnxmodel_runtime.contract.optimize import Variant
from onnxmodel_runtime.contract.text import in_words, plain
from onnxmodel_runtime.errors import clip, size
from onnxmodel_runtime.measuring.profiler import Operator
from onnxmodel_runtime.measuring.windows import PERCENTS, Spread
from onnxmodel_runtime.reporting import plots
from onnxmodel_runtime.reporting.report import Report

_TENSORS = 20  # inputs and outputs that are listed, of each
_OPERATORS = 12  # rows of a variant's table
_SEGMENTS = plots.STYLES - 1  # operators with a colour of their own
_NAME, _SENTENCE = 60, 400  # characters


def render(report: Report) -> str:
    """Render the page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "size": size,
        "number": number,
        "percent": percent,
        "name": _name,
        "sentence": _sentence,
        "shape": _shape,
        "sizes": in_words,
    }
    styles = {candidate.name: index % plots.STYLES for index, candidate in enumerate(report.request.candidates)}
    return environment.get_template("report.html.j2").render(
        report=report,
        result=report.result,
        unit=_unit(report),
        model=report.model,
        made=report.optimized is not None and report.optimized.made_inputs,
        tensors=_TENSORS,
        highlights=_highlights(report),
        noisy=sum(point.noisy for point in report.result.points),
        rows=_rows(report),
        marks={name: plots.marker(style) for name, style in styles.items()},
        scatters=[_scatter(report, styles, "p50"), _scatter(report, styles, "p99")],
        spreads=_spreads(report, styles),
        windows={_key(spread): spread.windows for spread in report.spreads},
        key=_key,
        operators=_operators(report),
        shown=_OPERATORS,
        percents=PERCENTS,
    )


def number(value: float) -> str:
    """Format a number with three significant digits: 1234.5 is 1,230."""
    return plain(value, 3)


def percent(value: float) -> str:
    """Format a percentage with one decimal, and no sign before a zero."""
    return f"{round(value, 1) or 0.0:.1f} %"


def _name(text: str) -> str:
    return clip(text, _NAME) or "(no name)"


def _sentence(text: str) -> str:
    return clip(text, _SENTENCE)


def _shape(shape: Sequence[int]) -> str:
    return " × ".join("dynamic" if dim < 0 else str(dim) for dim in shape[:8]) or "scalar"


def _key(numbers: Point | Spread) -> tuple[str, int, int]:
    return numbers.variant, numbers.batch_size, numbers.concurrency


def _callers(count: int) -> str:
    return f"{count} client" if count == 1 else f"{count} clients"


def _where(point: Point) -> str:
    return f"batch size {point.batch_size}, {_callers(point.concurrency)}"


# ---- what is at the top ----------------------------------------------------------------------------------------------


def _unit(report: Report) -> str:
    """Return the unit that throughput counts."""
    return "inferences" if report.result.batch == BATCH_NONE else "rows"


def _highlights(report: Report) -> list[tuple[str, str, str]]:
    """Return (title, number, explanation) of each highlight."""
    points = report.result.points
    baseline = report.request.candidates[0].name
    first, most = _first(points), _most(points)
    fastest = min(first.values(), key=lambda point: point.p50)
    busiest = max(most.values(), key=lambda point: point.throughput)
    sooner = f"{first[baseline].p50 / fastest.p50:.2f} × as fast as"
    more = f"{busiest.throughput / most[baseline].throughput:.2f} × as much as"
    found = [
        ("Lowest p50", f"{number(fastest.p50)} ms", _gain(fastest, baseline, sooner)),
        ("Highest throughput", f"{number(busiest.throughput)} {_unit(report)}/s", _gain(busiest, baseline, more)),
    ]
    made = [row for row in _rows(report) if row["saved"] is not None and not row["fate"]]
    if made:
        smallest = min(made, key=lambda row: row["variant"].bytes)
        saved = f", {percent(smallest['saved'])} saved" if smallest is not made[0] else ""
        found.append(("Smallest", size(smallest["variant"].bytes), f"{_name(smallest['name'])}{saved}"))
    return found


def _first(points: Sequence[Point]) -> dict[str, Point]:
    """By variant, the point at the smallest batch size and the lowest concurrency."""
    least = min((point.batch_size, point.concurrency) for point in points)
    return {point.variant: point for point in points if (point.batch_size, point.concurrency) == least}


def _most(points: Sequence[Point]) -> dict[str, Point]:
    """By variant, the point with the highest throughput."""
    return {point.variant: point for point in sorted(points, key=lambda point: point.throughput)}


def _gain(point: Point, baseline: str, gain: str) -> str:
    against = "" if point.variant == baseline else f", {gain} {_name(baseline)}"
    return f"{_name(point.variant)}{against}; {_where(point)}{'; noisy' if point.noisy else ''}"


# ---- the variants ----------------------------------------------------------------------------------------------------


def _rows(report: Report) -> list[dict[str, Any]]:
    """A row per variant that optimize knows, then per candidate that it does not. fate: why it was not measured."""
    variants = list(report.optimized.variants if report.optimized else ())
    original = next((variant.bytes for variant in variants if not variant.skipped), 0)
    rows = []
    for variant in variants:
        candidate = _measured(variant, report.request.candidates)
        saved = 100 * (1 - variant.bytes / original) if original and not variant.skipped else None
        rows.append(
            _row(
                report, variant, candidate.name if candidate else variant.name, _fate(report, variant, candidate), saved
            )
        )
    known = {row["name"] for row in rows}
    for candidate in report.request.candidates:
        if candidate.name not in known:
            variant = Variant(candidate.name, candidate.path)
            rows.append(_row(report, variant, candidate.name, _fate(report, variant, candidate), None))
    return rows


def _row(report: Report, variant: Variant, name: str, fate: str, saved: float | None) -> dict[str, Any]:
    result = report.result
    return {
        "variant": variant,
        "name": name,
        "fate": fate,
        "saved": saved,
        "load": result.load_seconds.get(name),
        "memory": result.memory_bytes.get(name),
        "use": result.uses.get(name),
        "first": _first(result.points).get(name),
        "most": _most(result.points).get(name),
    }


def _measured(variant: Variant, candidates: Sequence[Candidate]) -> Candidate | None:
    """By name as in a Job; by content on a command line, where files have other names."""
    same = [candidate for candidate in candidates if candidate.sha256 == variant.sha256 and not variant.skipped]
    return next((candidate for candidate in same if candidate.name == variant.name), same[0] if same else None)


def _fate(report: Report, variant: Variant, candidate: Candidate | None) -> str:
    if variant.skipped:
        return f"not built: {variant.skipped}"
    if variant.parity and not variant.parity.passed:
        return "not measured: its outputs differ from the original's" + (
            f" ({variant.parity.note})" if variant.parity.note else ""
        )
    if candidate is None:
        return "not measured"
    why = report.result.left_out.get(candidate.name)
    return f"left out of the benchmark: {why}" if why else ""


# ---- plots -----------------------------------------------------------------------------------------------------------


def _scatter(report: Report, styles: dict[str, int], rank: str) -> Markup:
    """For each variant and batch size a line through the concurrencies. rank: "p50" or "p99"."""
    baseline = report.request.candidates[0].name  # names the batch sizes, for all
    lines: dict[tuple[str, int], list[plots.Dot]] = {}
    for point in report.result.points:
        label = (
            f"{_name(point.variant)}, {_where(point)}: {rank} {number(getattr(point, rank))} ms, "
            f"{number(point.throughput)} {_unit(report)}/s{', noisy' if point.noisy else ''}"
        )
        dot = plots.Dot(point.throughput, getattr(point, rank), label, point.noisy)
        lines.setdefault((point.variant, point.batch_size), []).append(dot)
    return plots.scatter(
        f"{rank} against throughput of every variant, batch size and concurrency",
        [
            plots.Line(styles[variant], tuple(dots), f"batch {batch}" if variant == baseline else "")
            for (variant, batch), dots in lines.items()
        ],
        f"throughput, {_unit(report)} per second",
        f"{rank}, milliseconds",
    )


def _spreads(report: Report, styles: dict[str, int]) -> list[tuple[str, Markup]]:
    """A title and a plot for each batch size and concurrency."""
    cells: dict[tuple[int, int], list[plots.Box]] = {}
    for spread in report.spreads:
        at = dict(zip(PERCENTS, spread.milliseconds, strict=True))
        ranks = (at[5], at[25], at[50], at[75], at[95], at[99])
        box = plots.Box(_name(spread.variant), styles[spread.variant], ranks, f"{number(at[50])} ms")
        cells.setdefault((spread.batch_size, spread.concurrency), []).append(box)
    titles = {cell: f"Batch size {cell[0]}, {_callers(cell[1])}" for cell in cells}
    return [(titles[cell], plots.boxes(titles[cell], found, "milliseconds")) for cell, found in cells.items()]


def _operators(report: Report) -> dict[str, Any] | None:
    """The plot, its legend, and what the tables need; None when nothing was profiled."""
    names = [candidate.name for candidate in report.request.candidates if report.operators.get(candidate.name)]
    profiles = {name: report.operators[name] for name in names}
    if not profiles:
        return None
    several = len({operator.provider for found in profiles.values() for operator in found if operator.provider}) > 1
    shares: defaultdict[str, float] = defaultdict(float)
    for found in profiles.values():
        for operator in found:
            if operator.provider:  # what is summed up as others is nobody's
                shares[_label(operator, several)] += operator.milliseconds / _total(found)
    keys = sorted(shares, key=lambda name: (-shares[name], name))[:_SEGMENTS]
    legend = [(1 + index, name) for index, name in enumerate(keys)]
    style = {name: index for index, name in legend}
    rows = []
    for name, found in profiles.items():
        spent: defaultdict[str, float] = defaultdict(float)
        for operator in found:
            label = _label(operator, several)
            spent[label if label in style else ""] += operator.milliseconds
        segments = [(style[key], spent[key], key) for key in keys if spent[key]]
        segments += [(0, spent[""], "others")] if spent[""] else []
        rows.append(plots.Bar(_name(name), tuple(segments), f"{number(_total(found))} ms"))
    return {
        "plot": plots.bars("Time per operator in one run", rows, "milliseconds per run"),
        "legend": [*legend, (0, "others")],
        "profiles": profiles,
        "totals": {name: _total(found) for name, found in profiles.items()},
        "providers": {name: _by_provider(found) for name, found in profiles.items()},
    }


def _label(operator: Operator, several: bool) -> str:
    return _name(f"{operator.name}, {operator.provider}" if several and operator.provider else operator.name)


def _total(found: Sequence[Operator]) -> float:
    return sum(operator.milliseconds for operator in found) or 1e-9


def _by_provider(found: Sequence[Operator]) -> str:
    spent: defaultdict[str, float] = defaultdict(float)
    for operator in found:
        spent[operator.provider or "others"] += operator.milliseconds
    return ", ".join(
        f"{name} {100 * spent[name] / _total(found):.0f} %"
        for name in sorted(spent, key=spent.__getitem__, reverse=True)
    )
