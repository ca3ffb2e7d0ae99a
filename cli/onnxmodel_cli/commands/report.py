"""`onnxmodel report`: the page of a benchmark that was run elsewhere, or of a model in a cluster."""

import argparse
import sys
import webbrowser
from pathlib import Path

from onnxmodel_cli.cluster.kubectl import Kubectl, KubectlError, add_place, in_cluster
from onnxmodel_cli.command import Command
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.outcome import ExitCode
from onnxmodel_runtime.contract.volume import BENCHMARK_FILE, REPORT_PAGE


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "benchmark",
        metavar="DIR|JSON|NAME",
        help="benchmark.json written by benchmark, or its folder; as kubectl onnx, or with -n or --context, the name of "
        "an OnnxModel",
    )
    parser.add_argument(
        "-o", "--out", default="", metavar="FILE", help=f"output file ({REPORT_PAGE} beside it; NAME-{REPORT_PAGE})"
    )
    parser.add_argument(
        "--open",
        action=argparse.BooleanOptionalAction,
        help="show the page in the browser (that of a model, if standard output is a terminal)",
    )
    add_place(parser)


def _run(options: argparse.Namespace) -> int:
    place = options.namespace or options.context or options.parser.prog.startswith("kubectl")
    if place and not Path(options.benchmark).exists():
        return in_cluster(_of_model)(options)
    options.parser.needs(options.benchmark)
    return _rendered(options)


def _of_model(options: argparse.Namespace, kubectl: Kubectl) -> int:
    """Write the page that the benchmark of a model in a cluster left beside its artifacts."""
    name = options.benchmark
    try:
        path = ((kubectl.model(name).get("status") or {}).get("benchmark") or {}).get("report")
    except KubectlError as error:
        raise KubectlError(f"{error}; and there is no file or folder {name!r} here") from error
    if not path:
        raise KubectlError(f"{name} has not been measured yet")
    try:
        page = kubectl.bytes("exec", f"service/{name}", "--", "cat", path)
    except KubectlError as error:
        hint = "if artifacts are in a bucket or a registry, or nothing serves, a pod has to bring it: docs/artifacts.md"
        raise KubectlError(f"{error}\n{hint}") from error
    if options.open is None:
        options.open = sys.stdout.isatty()
    return _written(Path(options.out or f"{name}-{REPORT_PAGE}"), page, options)


def _written(target: Path, page: bytes, options: argparse.Namespace) -> int:
    """Write the page, print where it is, and show it if asked to."""
    try:
        target.write_bytes(page)
    except OSError as error:
        options.parser.error(f"cannot write {str(error.filename)!r}: {error.strerror}")
    print(target)
    if options.open:
        webbrowser.open(target.absolute().as_uri())
    return ExitCode.OK


def _rendered(options: argparse.Namespace) -> int:
    from onnxmodel_runtime.errors import clip
    from onnxmodel_runtime.reporting import report
    from onnxmodel_runtime.reporting.page import render

    source = Path(options.benchmark)
    target = Path(options.out) if options.out else (source if source.is_dir() else source.parent) / REPORT_PAGE
    try:
        page = render(report.read(source)).encode()
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
    return _written(target, page, options)


COMMAND = Command(
    "report",
    "render the report of a benchmark, or fetch that of a model in a cluster",
    _arguments,
    _run,
    formats=(),
)
