"""A run as text, and as a page: docs/optimizer-numbers.md."""

import textwrap
from collections.abc import Iterator, Sequence

from benchmarks.optimize.cases import HUGE
from benchmarks.optimize.measure import BAR_PERCENT, BATCHES, Measured, Row, Verdict
from benchmarks.optimize.rivals import PLAIN
from benchmarks.optimize.weights import OPSET
from onnxmodel_runtime.contract.text import plain

COMMAND = "make bench-optimize"
_WIDTH = 120
_HEAD = f"""# The optimizer in numbers

Real models, each with our variants, with plain ONNX Runtime (`{PLAIN}`: the original, `ORT_ENABLE_ALL` when it is
loaded) and with what [Olive](https://github.com/microsoft/Olive) makes of it. One process measures all of them in
turns, in short slices, with the code that runs in the benchmark Job, so that noise hits all alike; each is compared
with the original without any optimization, with the default tolerance. One thread, batch sizes {BATCHES[0]} and {BATCHES[1]}
where the model has a dynamic batch axis. This page is made by

```sh
{COMMAND}
```

or, for some of the models, `.venv/bin/python -m benchmarks.optimize --models toy light_resnet50`. Those of hundreds of
megabytes ({", ".join(HUGE)}) run when they are named.

`light_*`: the graphs of real models in the onnx package, which fills each weight with one number. Here they are raised
to opset {OPSET} and have random weights of a fixed seed, so that sizes and speeds are the real model's and parity means
something. Calibration rows: the golden data's inputs (toy, digits); else made ones.

Olive imports torch and calls nothing of it for passes over ONNX models: a stand-in answers those imports
([olive_worker.py](../benchmarks/optimize/olive_worker.py)), so that its environment needs no torch.
"""


def page(runs: Sequence[Measured]) -> str:
    """The whole page as Markdown."""
    machine = runs[0].result.environment
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    points = [point for run in runs for row in run.rows for point in row.points]
    noisy = sum(point.noisy for point in points)
    where = f"Measured on {machine.processor}, {machine.cores:g} cores; {versions}. "
    where += f"{noisy} of {len(points)} figures did not become stable in their time: that much else ran on the machine."
    lines = [_HEAD, *_wrap(where), ""]
    lines += ["## Our choice against the best of the others", ""]
    lines += _wrap(
        "Rivals that do not answer as the original does are not the best of anything. Time by theirs: below 1 we are faster; "
        f"up to {1 + BAR_PERCENT / 100:g} is what we allow ourselves. The operator chooses by the benchmark of the tables below; "
        "then its choice and the three fastest rivals meet again in many short turns, and the lower quartiles of their times are "
        "compared: what else runs can only make a call slower. Our choice is there in two sessions; noise is how far these "
        "were apart."
    )
    lines += ["", *summary(runs)]
    for run in runs:
        lines += ["", f"## {run.case.name}", "", *table(run), ""]
        lines += [
            f"- {line}" if index == 0 else f"  {line}" for v in run.verdicts for index, line in enumerate(_said(v))
        ]
        lines += [line for row in run.rows if row.why for line in _wrap(f"- {row.name}: {row.why}", "  ")]
    return "\n".join(lines) + "\n"


def summary(runs: Sequence[Measured]) -> list[str]:
    """One line for each model and objective."""
    lines = [
        "| model | objective | our choice | | best of the others | | time by theirs | noise | |",
        "|---|---|---|---:|---|---:|---:|---:|---|",
    ]
    for run in runs:
        for v in run.verdicts:
            ours, theirs = (_figure(v, cost) for cost in (v.ours, v.theirs))
            verdict = "held" if v.held else "**missed**"
            cells = [
                run.case.name,
                v.objective,
                v.choice,
                ours,
                v.rival,
                theirs,
                f"{v.ratio:.3f}",
                f"{100 * v.noise:.1f} %",
            ]
            lines.append("| " + " | ".join([*cells, verdict]) + " |")
    return lines


def table(run: Measured) -> list[str]:
    """Every variant of a model: ours first."""
    plain = next(row for row in run.rows if row.name == PLAIN)
    lines = [
        f"| variant | bytes | parity | largest difference | cosine | top-1 | p50 ms | rows/s | p50 by {PLAIN} |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    return lines + [_line(row, plain) for row in run.rows]


def _line(row: Row, plain: Row) -> str:
    if row.why:
        return f"| {row.name} | | skipped, see below | | | | | | |"
    found = row.parity
    proof = ["original", "", "", ""]
    if found is not None:
        top1 = "" if found.top1 is None else f"{100 * found.top1:.4g} %"
        proof = ["passed" if found.passed else "**failed**", f"{found.max_absolute:.3g}", f"{found.cosine:.6g}", top1]
    noisy = " (noisy)" if any(point.noisy for point in row.points) else ""
    cells = [row.name, f"{row.bytes:,}", *proof, f"{plain(row.p50)}{noisy}", plain(row.throughput)]
    return "| " + " | ".join([*cells, f"{row.p50 / plain.p50:.3f}"]) + " |"


def _said(verdict: Verdict) -> list[str]:
    return _wrap(f"{verdict.objective}: {verdict.sentence}.", width=_WIDTH - 2)


def _figure(verdict: Verdict, cost: float) -> str:
    return f"{plain(cost)} ms" if verdict.objective == "Latency" else f"{plain(1000 / cost)} rows/s"


def _wrap(text: str, indent: str = "", width: int = _WIDTH) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def lines(run: Measured) -> Iterator[str]:
    """For the terminal, as soon as a model is done."""
    yield f"\n{run.case.name}"
    yield from table(run)
    for row in run.rows:
        if row.why:
            yield f"{row.name} skipped: {row.why}"
    for verdict in run.verdicts:
        yield f"{verdict.objective}: {verdict.sentence}; {verdict.ratio:.3f} of {verdict.rival}'s time"
