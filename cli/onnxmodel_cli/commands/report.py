"""`onnxmodel report`: the page of a benchmark that was run elsewhere."""

import argparse
import sys
from pathlib import Path

from onnxmodel_cli.command import Command
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.outcome import ExitCode
from onnxmodel_runtime.contract.volume import BENCHMARK_FILE, REPORT_PAGE


def _arguments(parser: Parser) -> None:
    parser.add_argument("benchmark", metavar="DIR|JSON", help="benchmark.json written by benchmark, or its folder")
    parser.add_argument("-o", "--out", default="", metavar="FILE", help=f"output file ({REPORT_PAGE} beside it)")


def _run(options: argparse.Namespace) -> int:
    from onnxmodel_runtime.errors import clip
    from onnxmodel_runtime.reporting import report
    from onnxmodel_runtime.reporting.page import render

    source = Path(options.benchmark)
    target = Path(options.out) if options.out else (source if source.is_dir() else source.parent) / REPORT_PAGE
    try:
        target.write_text(render(report.read(source)), encoding="utf-8")
    except FileNotFoundError as error:
        if error.filename == str(source / BENCHMARK_FILE):
            options.parser.error(f"{str(source)!r} is a folder without {BENCHMARK_FILE}, which benchmark --out writes")
        options.parser.error(f"cannot write {str(error.filename)!r}: {error.strerror}")
    except OSError as error:
        options.parser.error(f"cannot use {str(error.filename)!r}: {error.strerror}")
    except ValueError as error:
        wanted = "is not a benchmark.json written by onnxmodel benchmark --out"
        why = "it is not text" if isinstance(error, UnicodeDecodeError) else clip(str(error), 200)
        print(f"error: {str(source)!r} {wanted}: {why}", file=sys.stderr)
        return ExitCode.REFUSED
    print(target)
    return ExitCode.OK


COMMAND = Command(
    "report",
    "render the report of a benchmark",
    _arguments,
    _run,
    places=("benchmark",),
    formats=(),
    description="Render the report of a benchmark.",
)
