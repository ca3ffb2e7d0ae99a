"""A run as a page: docs/validator-numbers.md."""

import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version

from benchmarks.validator.explain import explain
from benchmarks.validator.judge import Judged
from benchmarks.validator.numbers import VERDICTS, Group, counts, groups

UNEXPLAINED = "NOT EXPLAINED"
COMMAND = ".venv/bin/python -m benchmarks.validator --write docs/validator-numbers.md"
_WIDTH = 120
_HEAD = """# The validator in numbers

The validator on every model that the onnx package has in its backend tests, with the rules that suit them: any opset,
no batch axis asked for, and the test's own inputs and outputs as golden data where there are any. This page is made by

```sh
{command}
```

onnx {onnx}, ONNX Runtime {onnxruntime}, Python process with 4 GiB, {cores} cores.
"""


def page(results: Sequence[Judged], addresses: Sequence[str]) -> str:
    """The whole page as Markdown."""
    names = ", ".join(name.removeprefix("test_") for name in addresses)
    compared = sum(verdict.golden for _, verdict in results)
    lines = [
        _HEAD.format(
            command=COMMAND,
            onnx=version("onnx"),
            onnxruntime=version("onnxruntime"),
            cores=os.cpu_count(),
        ),
        *table(results),
        "",
        f"Of those that passed, {compared} were compared with golden data.",
        "",
        f"The package has addresses of {len(addresses)} further models, of the kind real, and not their weights ({names}); "
        "`light` has the same graphs with constant weights.",
        "",
        "## What does not pass, and why",
        "",
        "Each model is named once, under its first error.",
    ]
    refused = groups(results)
    lines += ["", "| finding | models |", "|---|---:|", *(f"| {group.reason} | {group.count} |" for group in refused)]
    for group in refused:
        lines += _section(group)
    return "\n".join(_wrapped(lines)) + "\n"


def table(results: Iterable[Judged]) -> list[str]:
    """Counts by kind of test."""
    found = counts(results)
    lines = ["| kind | models | " + " | ".join(VERDICTS) + " |", "|---|" + "---:|" * (len(VERDICTS) + 1)]
    for kind, verdicts in found.items():
        lines.append(f"| {kind} | {verdicts.total()} | " + " | ".join(str(verdicts[name]) for name in VERDICTS) + " |")
    total = [sum(verdicts[name] for verdicts in found.values()) for name in VERDICTS]
    return [*lines, f"| **all** | **{sum(total)}** | " + " | ".join(f"**{number}**" for number in total) + " |"]


def unexplained(results: Iterable[Judged]) -> list[Judged]:
    """What is refused without a sentence that says why."""
    return [
        judged
        for group in groups(results)
        for about, models in group.operators.items()
        for judged in models
        if _sentence(group, about, judged).startswith(UNEXPLAINED)
    ]


def _wrapped(lines: Iterable[str]) -> Iterator[str]:
    """As every page here, tables and commands aside: 120 characters at most."""
    for line in lines:
        if line.startswith(("|", "#")) or len(line) <= _WIDTH or "\n" in line:
            yield line
        else:
            yield from textwrap.wrap(
                line,
                _WIDTH,
                subsequent_indent="  " * line.startswith("- "),
                break_long_words=False,
                break_on_hyphens=False,
            )


def _section(group: Group) -> list[str]:
    lines = ["", f"### {group.reason}: {group.count}"]
    by_sentence: dict[str, dict[str, list[str]]] = {}
    for about, models in group.operators.items():
        for case, verdict in models:
            sentence = _sentence(group, about, (case, verdict))
            names = by_sentence.setdefault(sentence, {}).setdefault(about or "model", [])
            names.append(case.name.removeprefix("test_"))
    for sentence, operators in by_sentence.items():
        lines += ["", sentence, ""]
        lines += [f"- {about} ({len(names)}): {', '.join(names)}" for about, names in operators.items()]
    return lines


def _sentence(group: Group, about: str, judged: Judged) -> str:
    case, verdict = judged
    found = explain(group.reason, about, verdict.message, case.name)
    return found or f"{UNEXPLAINED}: {verdict.message}"
