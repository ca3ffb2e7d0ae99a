"""`onnxmodel benchmark`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from onnxmodel_cli import arguments, values
from onnxmodel_cli.command import Command, stage
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, Candidate
from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.volume import MODEL_FILE, REPORT_FILE
from onnxmodel_runtime.models.digests import digest


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help=".onnx files of the same model; the first is the baseline"
    )
    arguments.add_batch(parser)
    parser.add_argument("--batch-sizes", type=values.batch_sizes, default=(1, 8), help="comma-separated (1,8)")
    parser.add_argument("--concurrency", type=values.concurrency, default=(1, 4), help="concurrent clients (1,4)")
    parser.add_argument("--seconds", type=values.number(above=True), default=0.3, help="length of a window (0.3)")
    parser.add_argument(
        "--stable-percent",
        type=values.number(above=True),
        default=5.0,
        help="maximum difference between three windows in percent (5)",
    )
    parser.add_argument(
        "--windows", type=values.integer(1), default=10, help="maximum number of windows for each measurement (10)"
    )
    parser.add_argument("--out", default="", metavar="DIR", help="folder for benchmark.json and report.html")
    parser.add_argument("--instances", type=values.integer(1, 64), default=1, help="sessions that share the load (1)")
    arguments.add_graph_level(parser)
    arguments.add_providers(parser)


def _request(options: argparse.Namespace) -> BenchmarkRequest:
    paths = [Path(model).absolute() for model in options.models]
    reports = [path.parent.parent / REPORT_FILE for path in paths]  # where optimize leaves it
    return BenchmarkRequest(
        tuple(
            Candidate(name, str(path), digest(path), options.graph_level)
            for name, path in zip(_names(paths), paths, strict=True)
        ),
        probe="",
        batch_sizes=options.batch_sizes,
        concurrency=options.concurrency,
        seconds=options.seconds,
        instances=options.instances,
        providers=arguments.providers(options),
        stable_percent=options.stable_percent,
        windows=options.windows,
        optimized=next((str(path) for path in reports if path.is_file()), ""),
        directory=str(Path(options.out).absolute()) if options.out else "",
        batch=options.batch,
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """Name each model by the shortest part of its path that is unique."""
    names = [path.stem for path in paths]
    if len(paths) > 1:  # variants lie in folders of their own, each as model.onnx
        names = [path.parent.name if path.name == MODEL_FILE else path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [path.parent.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return names


COMMAND = Command(
    Stage.BENCHMARK,
    "compare the performance of models",
    _arguments,
    stage(Stage.BENCHMARK, _request),
    places=("models",),
    folder="out",
)
