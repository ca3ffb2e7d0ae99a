"""The command line: `onnxmodel STAGE --request JSON` in a Job, or with plain arguments for people.

Nothing here imports a heavy package; each stage's module does, in the process that needs it.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, Candidate
from onnxmodel_runtime.contract.codec import ContractError, dumps, loads
from onnxmodel_runtime.contract.fetch import CREDENTIALS, SECRET_PREFIX, FetchRequest
from onnxmodel_runtime.contract.loadtest import Load, LoadTestRequest
from onnxmodel_runtime.contract.model import BATCH_NONE, BATCH_UNKNOWN, Tolerance
from onnxmodel_runtime.contract.optimize import Calibration, OptimizeRequest
from onnxmodel_runtime.contract.outcome import ExitCode, Failure, Outcome
from onnxmodel_runtime.contract.parser import Parser
from onnxmodel_runtime.contract.probe import ProbeRequest
from onnxmodel_runtime.contract.providers import PROVIDERS, Providers, misplaced
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.serve import MAX_QUEUE_SIZE, ServeRequest
from onnxmodel_runtime.contract.stages import COMMANDS, Result, Stage
from onnxmodel_runtime.contract.text import nearest
from onnxmodel_runtime.contract.validate import Finding, ValidateRequest
from onnxmodel_runtime.contract.volume import (
    CALIBRATION_FILE,
    CALIBRATION_FOLDER,
    GOLDEN_FILE,
    GOLDEN_FOLDER,
    MODEL_FILE,
    PROBE_FILE,
    REPORT_FILE,
    REPORT_PAGE,
)
from onnxmodel_runtime.errors import StageError, clip
from onnxmodel_runtime.locally import in_options, worded
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.models.records import accept, validation_report, write_report
from onnxmodel_runtime.sandbox import parent
from onnxmodel_runtime.sandbox.termination import (
    exit_code,
    print_failure,
    write_termination_message,
)
from onnxmodel_runtime.variants import RECIPES

_PORTS = {field.name: field.default for field in dataclasses.fields(ServeRequest) if field.name.endswith("_port")}
_TOLERANCE, _CALIBRATION = Tolerance(), Calibration()
_PREFERRED_SIZES = 16
_INTERRUPTED = 130  # as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["run"]:
        return _by_manifest(arguments[1:])
    if len(arguments) > 1 and arguments[1].partition("=")[0] == "--request":
        return _job(arguments)
    options = _parser().parse_args(arguments)
    parser: Parser = options.parser
    parser.needs(*_places(options))
    if options.command == "report":
        return _report(options)
    if options.command == Stage.VALIDATE and options.manifest:
        return _by_manifest(_as_run(options))
    try:
        request = options.build(options)
    except (OSError, ValueError) as error:
        parser.error(_sentence(error))
    if options.command == "verify":
        return _verify(request, options.output)
    try:
        with contextlib.ExitStack() as made:
            proven = made.enter_context(_proven(request, chosen=bool(getattr(options, "graph_level", None))))
            if options.command == "serve":
                return _serve(proven, parser.options(), made.close)
            outcome = run(options.command, proven, local=True, options=parser.options())
    except (StageError, parent.InternalError) as error:
        failure, retry = (error.failure, error.retry) if isinstance(error, StageError) else (_defect(error), False)
        left = worded(Outcome(options.command, 0.0, failure=failure, retry=retry), parser.options())
        print_failure(left.failure or failure)
        return exit_code(left)
    if options.command == Stage.OPTIMIZE and outcome.result is not None:
        write_report(outcome, Path(request.directory) / REPORT_FILE)
    if options.output == "json":
        print(dumps(outcome))
    elif options.output == "sarif":
        from onnxmodel_runtime.reporting import sarif

        print(sarif.text(outcome, options.model))
    else:
        _print(outcome)
    if outcome.failure and outcome.command == Stage.VALIDATE:
        print_failure(outcome.failure)
    return exit_code(outcome)


def _places(options: argparse.Namespace) -> list[str]:
    """The local files and folders that the command line names, and that must be there."""
    names = {*("model", "benchmark", "probe", "golden", "manifest", "signature")}
    names |= {"uri"} if options.command == "fetch" else {"directory"} if options.command == "verify" else set()
    given = [getattr(options, name, "") for name in sorted(names)]
    return [*getattr(options, "models", ()), *given]


def _sentence(error: Exception) -> str:
    """What is wrong with an argument."""
    if isinstance(error, IsADirectoryError):
        return f"{str(error.filename)!r} is a folder; name the .onnx file in it"
    if isinstance(error, OSError) and error.filename:
        return f"{str(error.filename)!r} cannot be read: {error.strerror}"
    return str(error)


def _print(outcome: Outcome) -> None:
    """The result, and where there is none, the findings."""
    from onnxmodel_runtime.reporting import tables

    if outcome.result is not None:
        print(tables.text(outcome.result), flush=True)
    elif outcome.findings or outcome.command == Stage.VALIDATE:
        print(tables.findings(outcome.findings), flush=True)


def _as_run(options: argparse.Namespace) -> list[str]:
    """`validate --manifest` as the run that ends after it. What the manifest says is not said twice."""
    said = (options.opset_min, options.dynamic_batch, options.mode, options.golden_tolerance, options.memory)
    if options.batch != BATCH_UNKNOWN or any(option is not None for option in said):
        flags = "--opset-min, --dynamic-batch, --batch, --mode, --golden-tolerance and --memory"
        options.parser.error(f"{flags} are the manifest's to say; leave them out, or leave out --manifest")
    given = [("--public-key", options.public_key), ("--golden", options.golden), ("--signature", options.signature)]
    arguments = [options.manifest, f"--model={options.model}", "--until=validate", f"--output={options.output}"]
    return [*arguments, *(f"{name}={value}" for name, value in given if value)]


def _by_manifest(arguments: list[str]) -> int:
    """What an OnnxModel means is the operator's knowledge, which is another package: it runs these commands in turn."""
    if importlib.util.find_spec("onnxmodel_operator") is None:
        print("error: the operator is not installed here: pip install onnxmodel-operator[operator]", file=sys.stderr)
        return ExitCode.REFUSED
    try:
        return subprocess.call([sys.executable, "-m", "onnxmodel_operator.local", *arguments])
    except KeyboardInterrupt:  # which the other process has got too
        return _INTERRUPTED


def _job(arguments: list[str]) -> int:
    """The contract with the operator: a request in, an outcome in the termination message."""
    parser = argparse.ArgumentParser(prog="onnxmodel", description="Run a stage as a Job does.")
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("--request", required=True, metavar="JSON")
    parser.add_argument(
        "--local", action="store_true", help="on a person's machine: local files and loopback may be read"
    )
    parser.add_argument("--keep", default="", metavar="FOLDER,…", help="remove all other folders from the volume first")
    options = parser.parse_args(arguments)
    try:
        request: Any = loads(COMMANDS[options.command].request, options.request)
    except ContractError as error:
        failure = Failure("RequestInvalid", clip(str(error)), "Operator and image must be of the same release.")
        outcome = Outcome(options.command, 0.0, failure=failure)
        print_failure(failure)
    else:
        if options.command == "serve":
            return _serve(request, local=options.local)
        if options.keep:
            from onnxmodel_runtime.stages.collect import collect

            collect(Path(request.directory).parent.parent, options.keep.split(","))
        outcome = run(options.command, request, local=options.local)
        if (path := report_path(request)) is not None:
            write_report(outcome, path)
        if isinstance(request, ValidateRequest) and outcome.result is not None:
            accept(Path(request.directory))
        _print(outcome)
        if outcome.failure and outcome.command == Stage.VALIDATE:
            print_failure(outcome.failure)
    return exit_code(write_termination_message(outcome))


def run(command: str, request: Any, *, local: bool = False, options: Collection[str] = ()) -> Outcome:
    """Run a command to its outcome, whatever happens.

    local: on a person's machine, where local files may be read; options: of the person's command.
    """
    started = time.monotonic()
    result: Result | None = None
    failure: Failure | None = None
    findings: tuple[Finding, ...] = ()
    retry = False
    # The first process of a container ignores SIGTERM unless it says what to do then.
    previous = signal.signal(signal.SIGTERM, _stop)
    try:
        if command == "fetch":
            from onnxmodel_runtime.stages.fetch import fetch

            take_credentials()
            fetch(request, local=local)
        elif command == Stage.LOADTEST:
            from onnxmodel_runtime.stages.loadtest import loadtest

            result = loadtest(request)
        elif command == Stage.PROBE:
            from onnxmodel_runtime.stages.probe import probe

            result = probe(request)
        else:
            result = parent.run(command, request)
    except StageError as error:
        failure, retry, findings = error.failure, error.retry, error.findings
    except _Stopped:
        failure, retry = (
            Failure("Interrupted", f"{command} was asked to stop", "In a Job it runs again by itself."),
            True,
        )
    except Exception as error:
        traceback.print_exc()
        failure = _defect(error)
    finally:
        signal.signal(signal.SIGTERM, previous)
    outcome = Outcome(command, round(time.monotonic() - started, 3), result, failure, retry, findings)
    outcome = worded(outcome, options) if local else outcome
    if outcome.failure is not None and command != Stage.VALIDATE:
        print_failure(outcome.failure)
    return outcome


def _defect(error: Exception) -> Failure:
    hint = "This is a defect of onnxmodel: please report it with the log. It is tried again a few times."
    return Failure("InternalError", clip(f"{type(error).__name__}: {error}"), hint)


def take_credentials() -> None:
    """Of what a Secret brought, the variables that sources know; they replace what the image or the node set."""
    for name in sorted(os.environ):
        if not name.startswith(SECRET_PREFIX):
            continue
        key, value = name.removeprefix(SECRET_PREFIX), os.environ.pop(name)
        if key in CREDENTIALS:
            os.environ[key] = value
        else:
            print(f"the Secret's key {clip(key, 100)} is not one that sources know", file=sys.stderr)


class _Stopped(BaseException):
    """SIGTERM came. No Exception: code that tries again after any error must not try again after this."""


def _stop(_signum: int, _frame: FrameType | None) -> None:
    raise _Stopped


def report_path(request: Any) -> Path | None:
    """Where a Job leaves its full outcome: never inside of what fetch left, which is content-addressed."""
    if isinstance(request, ValidateRequest):
        return validation_report(Path(request.directory))
    if isinstance(request, OptimizeRequest):
        return Path(request.directory) / REPORT_FILE
    if isinstance(request, BenchmarkRequest) and request.directory:
        return Path(request.directory) / "outcome.json"  # success has benchmark.json beside it
    if isinstance(request, BenchmarkRequest) and request.candidates:
        short = hashlib.sha256(dumps(request).encode()).hexdigest()[:8]
        beside = Path(request.probe or request.candidates[0].path).parent
        return beside / f"benchmark-{short}.json"  # one directory of variants is measured with many requests
    return None


def _report(options: argparse.Namespace) -> int:
    """The page of a benchmark that was run elsewhere."""
    from onnxmodel_runtime.reporting import report
    from onnxmodel_runtime.reporting.page import render

    source = Path(options.benchmark)
    target = Path(options.out) if options.out else (source if source.is_dir() else source.parent) / REPORT_PAGE
    try:
        target.write_text(render(report.read(source)), encoding="utf-8")
    except OSError as error:
        print(f"error: {str(error.filename)!r} cannot be used: {error.strerror}", file=sys.stderr)
        return ExitCode.REFUSED
    except ValueError as error:
        wanted = "is no benchmark.json, as onnxmodel benchmark --out leaves it"
        print(f"error: {str(source)!r} {wanted}: {clip(str(error), 200)}", file=sys.stderr)
        return ExitCode.REFUSED
    print(target)
    return ExitCode.OK


@contextlib.contextmanager
def _proven(request: Any, *, chosen: bool) -> Iterator[Any]:
    """A request to serve a model that no stage has seen, with what the stages would find; any other as it is.

    chosen: whether the person chose a graph level.
    """
    if not isinstance(request, ServeRequest | RepositoryRequest):
        yield request
        return
    from onnxmodel_runtime.stages import bare

    serve = request if isinstance(request, ServeRequest) else request.serve
    golden = _beside(Path(serve.model), GOLDEN_FILE, GOLDEN_FOLDER)
    with bare.proven(serve, golden=golden, chosen=chosen) as proven:
        yield proven if isinstance(request, ServeRequest) else replace(request, serve=proven)


def _serve(
    request: ServeRequest,
    options: Collection[str] = (),
    clean: Callable[[], None] = lambda: None,
    *,
    local: bool = True,
) -> int:
    from onnxmodel_runtime.server.main import serve

    said = partial(in_options, options=options) if options else str
    return serve(request, partial(worded, options=options) if local else None, clean, said)


def _verify(directory: Path, output: str) -> int:
    from onnxmodel_runtime.stages.verify import verify

    files, problems = verify(directory)
    if output == "json":
        print(json.dumps({"files": files, "problems": [dataclasses.asdict(problem) for problem in problems]}, indent=2))
    else:
        print("\n".join(problem.message for problem in problems) or f"{files} files are what was written down of them")
    return ExitCode.REFUSED if problems else ExitCode.OK


# ---- arguments for people --------------------------------------------------------------------------------------------


def _parser() -> Parser:
    parser = Parser(
        prog="onnxmodel",
        description="Fetch, validate, optimize, verify, benchmark, serve, load and probe ONNX models; lay them out for Triton.",
        epilog="Exit codes: 0 done; 2 the command line is wrong, or names a file that is not there; 10 refused, the same "
        "input gives the same answer; 11 something outside was not there, try again; 1 a defect of onnxmodel. A Job passes "
        "its whole request as --request JSON.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", help="run all stages of an OnnxModel manifest here, without a cluster")

    fetch = _command(commands, "fetch", "copy a model into a directory, with its digests", _fetch_request)
    fetch.add_argument("uri", help="s3://bucket/key, https://…, or a local path; a folder ends in '/'")
    fetch.add_argument("directory", help="made as a whole, or not at all")
    fetch.add_argument("--sha256", default="", help="the digest that model.onnx must have")

    validate = _command(commands, "validate", "judge a model", _validate_request)
    validate.add_argument("model", help="the .onnx file, or a directory that holds model.onnx")
    validate.add_argument("--opset-min", type=_from(1), metavar="N", help="oldest opset to accept (13)")
    validate.add_argument("--dynamic-batch", choices=("Required", "Allowed"), help="(Required)")
    _batch_argument(validate)
    validate.add_argument("--mode", choices=("Enforce", "Warn"), help="(Enforce)")
    validate.add_argument("--golden", default="", metavar="PATH", help="golden data: an .npz file, or a folder")
    validate.add_argument("--golden-tolerance", type=_amount(), metavar="N", help="relative and absolute (0.001)")
    validate.add_argument(
        "--manifest", default="", metavar="YAML", help="an OnnxModel: its rules, golden data and signature hold"
    )
    validate.add_argument(
        "--public-key", default="", metavar="PEM", help="of the manifest's signature: a file, or its text"
    )
    validate.add_argument(
        "--signature", default="", metavar="FILE", help="instead of the manifest's source.signature.uri"
    )
    validate.add_argument(
        "--timeout", type=_amount(), metavar="SECONDS", default=1800.0, help="refuse what takes longer (1800); 0: any"
    )
    validate.add_argument(
        "--memory",
        type=_amount(),
        metavar="GIB",
        help="memory that the server may use, as the chart's default (2); 0: any",
    )

    optimize = _command(commands, "optimize", "make variants and prove each against the original", _optimize_request)
    optimize.add_argument("model", help="the .onnx file")
    optimize.add_argument("--out", required=True, metavar="DIR", help="where variants, probe.npz and report.json go")
    optimize.add_argument("--variants", type=_variants, default=("fp32",), help=f"of {', '.join(RECIPES)} (fp32)")
    optimize.add_argument("--graph-level", choices=("None", "Basic", "Extended", "All"), default="All")
    _batch_argument(optimize)
    optimize.add_argument("--batch-sizes", type=_numbers, default=(1, 3, 8), help="where parity is measured (1,3,8)")
    optimize.add_argument("--relative", type=_amount(), default=_TOLERANCE.relative, help="tolerance")
    optimize.add_argument("--absolute", type=_amount(), default=_TOLERANCE.absolute, help="tolerance")
    optimize.add_argument(
        "--cosine", type=_amount(most=1), default=_TOLERANCE.cosine, help="smallest cosine of an output"
    )
    _provider_arguments(optimize)

    optimize.add_argument(
        "--calibration",
        choices=("MinMax", "Entropy", "Percentile"),
        default=_CALIBRATION.method,
        help=f"how int8-static learns ranges, from {CALIBRATION_FILE} or {GOLDEN_FILE} beside the model (MinMax)",
    )

    verify = _command(commands, "verify", "compare files with what was written down of them", _verify_request)
    verify.add_argument("directory", help="what optimize made, or a model's volume (/artifacts)")

    benchmark = _command(commands, "benchmark", "measure models against each other", _benchmark_request)
    benchmark.add_argument(
        "models", nargs="+", metavar="MODEL", help=".onnx files of the same model; the first is the baseline"
    )
    _batch_argument(benchmark)
    benchmark.add_argument("--batch-sizes", type=_numbers, default=(1, 8), help="comma-separated (1,8)")
    benchmark.add_argument("--concurrency", type=_numbers, default=(1, 4), help="callers at a time (1,4)")
    benchmark.add_argument("--seconds", type=_amount(above=True), default=0.3, help="length of a window (0.3)")
    benchmark.add_argument(
        "--stable-percent", type=_amount(above=True), default=5.0, help="how far three windows may differ (5)"
    )
    benchmark.add_argument("--windows", type=_from(1), default=10, help="at most, of each measurement (10)")
    benchmark.add_argument("--out", default="", metavar="DIR", help="where benchmark.json and report.html go")
    benchmark.add_argument("--instances", type=_from(1, 64), default=1, help="sessions that share the load (1)")
    benchmark.add_argument("--graph-level", choices=("None", "Basic", "Extended", "All"), default="All")
    _provider_arguments(benchmark)

    report = commands.add_parser(
        "report", help="make the page of a benchmark", description="Make the page of a benchmark."
    )
    report.set_defaults(parser=report)
    report.add_argument("benchmark", metavar="DIR|JSON", help="benchmark.json that benchmark left, or its directory")
    report.add_argument("-o", "--out", default="", metavar="FILE", help=f"the page ({REPORT_PAGE} beside it)")

    serve = _command(commands, "serve", "serve a model by the Open Inference Protocol", _serve_request)
    serve.add_argument("model", help="the .onnx file, or a directory that holds model.onnx")
    _serving_arguments(serve)
    serve.add_argument("--engine-cache", default="", metavar="DIR", help="where TensorRT keeps its engines (nowhere)")
    serve.add_argument("--access-log", action="store_true", help="a line of JSON for each inference")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    _port_arguments(serve, _PORTS, least=0)
    _provider_arguments(serve)

    repository = _command(commands, "repository", "lay out a model repository for NVIDIA Triton", _repository_request)
    repository.add_argument("model", help="the .onnx file, or a directory that holds model.onnx")
    repository.add_argument("--out", required=True, metavar="DIR", help="what --model-repository of tritonserver names")
    _serving_arguments(repository)
    repository.add_argument(
        "--gpus", type=_from(0, 64), default=1, help="that Triton has, where the providers use any (1)"
    )
    repository.add_argument("--engines", default="", metavar="DIR", help="where TensorRT's engines are kept")
    _provider_arguments(repository)

    load = _command(
        commands, "loadtest", "measure a running server as its clients ask it, over HTTP", _loadtest_request
    )
    load.add_argument("host", type=_host, help="of the server, which has 30 s to be ready")
    load.add_argument("--name", required=True, help="the model's name")
    load.add_argument("--probe", required=True, metavar="NPZ", help="probe.npz that optimize left")
    _batch_argument(load)
    load.add_argument("--batch-sizes", type=_numbers, default=(1,), help="rows of a request, separated by commas (1)")
    load.add_argument("--concurrency", type=_numbers, default=(1, 4), help="callers at a time (1,4)")
    _port_arguments(load, ["http_port"])

    probe = _command(commands, "probe", "ask a running server for the probe's answer", _probe_request)
    probe.add_argument("host", type=_host, help="of the server, which has 30 s to be ready")
    probe.add_argument("--name", required=True, help="the model's name")
    probe.add_argument("--probe", required=True, metavar="NPZ", help="probe.npz that optimize left")
    _port_arguments(probe, ["http_port", "grpc_port"])
    return parser


def _command(commands: Any, name: str, summary: str, build: Any) -> Parser:
    parser: Parser = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:])
    formats = ("text", "json", "sarif") if name == "validate" else ("text", "json")
    parser.add_argument("--output", choices=formats, default="text")
    parser.set_defaults(build=build, parser=parser)
    return parser


def _batch_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch",
        choices=(BATCH_UNKNOWN, BATCH_NONE),
        default=BATCH_UNKNOWN,
        help="None: no first axis is a batch (Auto)",
    )


def _serving_arguments(parser: argparse.ArgumentParser) -> None:
    _batch_argument(parser)
    parser.add_argument("--name", type=_segment, default="", help="what clients call it (the file's name)")
    parser.add_argument("--probe", default="", help="probe.npz that optimize left")
    parser.add_argument(
        "--graph-level",
        choices=("None", "Basic", "Extended", "All"),
        help="the highest to use (All; None where no inputs can prove it)",
    )
    parser.add_argument("--instances", type=_from(1, 64), default=1, help="sessions that share the load (1)")
    parser.add_argument("--max-batch-size", type=_from(1, 4096), default=32)
    parser.add_argument("--max-queue-delay", type=_from(0, 10_000_000), default=0, metavar="MICROSECONDS")
    parser.add_argument("--preferred-batch-sizes", type=_numbers, default=(), metavar="N,M")
    parser.add_argument(
        "--default-timeout",
        type=_from(0, 600_000_000),
        default=0,
        metavar="MICROSECONDS",
        help="in the queue (0: none)",
    )
    parser.add_argument(
        "--max-queue-size", type=_from(1, 65536), help="requests that may wait (512; with Triton any number)"
    )


def _port_arguments(parser: argparse.ArgumentParser, names: Iterable[str], least: int = 1) -> None:
    free = "" if least else "; 0: any that is free"
    for name in names:
        option, usual = f"--{name.replace('_', '-')}", _PORTS[name]
        parser.add_argument(option, type=_from(least, 65535), default=usual, metavar="PORT", help=f"({usual}{free})")


def _provider_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--providers", type=_provider_names, default=("CPU",), help="TensorRT,CUDA,OpenVINO,CPU in your order (CPU)"
    )
    parser.add_argument("--fallback", choices=("Forbid", "Allow"), default="Forbid", help="when the first is not there")
    parser.add_argument("--threads", type=_from(0), default=1, help="of one session (1); 0: all cores")


def _names(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _host(value: str) -> str:
    if "://" in value or value.count(":") == 1:
        raise argparse.ArgumentTypeError(f"{value!r} is more than a host; give the port by its own option")
    return value


def _segment(value: str) -> str:
    """A name that is one part of a path: clients ask for /v2/models/NAME."""
    if value in (".", "..") or re.search(r"[/?#%\\\s\x00-\x1f\x7f]", value):
        raise argparse.ArgumentTypeError(
            f"{value!r} cannot be a part of the path /v2/models/NAME: it must not be '.' or '..', nor have spaces or any of "
            "/ \\ ? # %"
        )
    return value


def _provider_names(value: str) -> tuple[str, ...]:
    _known("execution provider", names := _names(value), PROVIDERS)
    if wrong := misplaced(names) if names else f"name at least one of {', '.join(PROVIDERS)}":
        raise argparse.ArgumentTypeError(wrong)
    return names


def _known(what: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            there_are = f"there is no {what} {name!r}; there are {', '.join(known)}"
            raise argparse.ArgumentTypeError(f"{there_are}{nearest(name, known)}")


def _numbers(value: str) -> tuple[int, ...]:
    parts = _names(value)
    if not parts or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{value!r} is no list of whole numbers from 1 on, such as 1,8")
    return tuple(map(int, parts))


def _amount(*, above: bool = False, most: float = math.inf) -> Callable[[str], float]:
    """A number from 0 on, or above it, and up to that one."""
    bounds = ("above 0" if above else "from 0 on") if most == math.inf else f"from 0 to {most:g}"

    def number(value: str) -> float:
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if not math.isfinite(found) or found > most or found < 0 or (above and not found):
            raise argparse.ArgumentTypeError(f"{value!r} is no number {bounds}")
        return found

    return number


def _from(least: int, most: int | None = None) -> Callable[[str], int]:
    """A whole number from this one on, and up to that one."""
    bounds = f"from {least} on" if most is None else f"from {least} to {most}"

    def number(value: str) -> int:
        if not value.isascii() or not value.isdigit() or int(value) < least or (most is not None and int(value) > most):
            raise argparse.ArgumentTypeError(f"{value!r} is no whole number {bounds}")
        return int(value)

    return number


def _variants(value: str) -> tuple[str, ...]:
    _known("variant", _names(value), tuple(RECIPES))
    return _names(value)


def _providers(options: argparse.Namespace) -> Providers:
    return Providers(options.providers, options.fallback, threads=options.threads)


def _fetch_request(options: argparse.Namespace) -> FetchRequest:
    return FetchRequest(options.uri, str(Path(options.directory).absolute()), options.sha256)


def _validate_request(options: argparse.Namespace) -> ValidateRequest:
    path = Path(options.model).absolute()
    directory, file = (path, MODEL_FILE) if path.is_dir() else (path.parent, path.name)
    if options.public_key or options.signature:
        raise ValueError("--public-key and --signature are for the signature of a --manifest")
    if path.is_dir() and not (path / MODEL_FILE).exists():
        raise ValueError(f"{options.model!r} is a folder without {MODEL_FILE}; name the .onnx file in it")
    bound = 0.001 if options.golden_tolerance is None else options.golden_tolerance
    return ValidateRequest(
        str(directory),
        13 if options.opset_min is None else options.opset_min,
        dynamic_batch=options.dynamic_batch or "Required",
        mode=options.mode or "Enforce",
        file=file,
        golden=Tolerance(bound, bound) if options.golden else None,
        golden_path=options.golden,
        timeout_seconds=options.timeout,
        serving_memory=round((2.0 if options.memory is None else options.memory) * 2**30),
        batch=options.batch,
    )


def _optimize_request(options: argparse.Namespace) -> OptimizeRequest:
    model = Path(options.model).absolute()
    return OptimizeRequest(
        str(model),
        digest(model),
        str(Path(options.out).absolute()),
        options.variants,
        options.graph_level,
        options.batch_sizes,
        Tolerance(options.relative, options.absolute, options.cosine),
        _providers(options),
        replace(_CALIBRATION, method=options.calibration),
        str(model.parent) if _beside(model, CALIBRATION_FILE, CALIBRATION_FOLDER) else "",
        _beside(model, GOLDEN_FILE, GOLDEN_FOLDER),
        batch=options.batch,
    )


def _beside(model: Path, *names: str) -> bool:
    return any((model.parent / name).exists() for name in names)


def _verify_request(options: argparse.Namespace) -> Path:
    return Path(options.directory)


def _benchmark_request(options: argparse.Namespace) -> BenchmarkRequest:
    paths = [Path(model).absolute() for model in options.models]
    names = [path.stem for path in paths]
    if len(paths) > 1:  # variants lie in folders of their own, each as model.onnx
        names = [path.parent.name if path.name == MODEL_FILE else path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [path.parent.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    optimized = [path.parent.parent / "report.json" for path in paths]  # where optimize leaves it
    return BenchmarkRequest(
        tuple(
            Candidate(name, str(path), digest(path), options.graph_level)
            for name, path in zip(names, paths, strict=True)
        ),
        probe="",
        batch_sizes=options.batch_sizes,
        concurrency=options.concurrency,
        seconds=options.seconds,
        instances=options.instances,
        providers=_providers(options),
        stable_percent=options.stable_percent,
        windows=options.windows,
        optimized=next((str(path) for path in optimized if path.is_file()), ""),
        directory=str(Path(options.out).absolute()) if options.out else "",
        batch=options.batch,
    )


def _serve_request(options: argparse.Namespace) -> ServeRequest:
    cache = str(Path(options.engine_cache).absolute()) if options.engine_cache else ""
    ports = {name: getattr(options, name) for name in _PORTS}
    return replace(_served(options), engine_cache=cache, access_log=options.access_log, host=options.host, **ports)


def _repository_request(options: argparse.Namespace) -> RepositoryRequest:
    engines = str(Path(options.engines).absolute()) if options.engines else ""
    out = str(Path(options.out).absolute())
    serve = replace(_served(options), max_queue_size=options.max_queue_size or 0)
    return RepositoryRequest(serve, out, options.gpus, engines=engines)


def _unfit(options: argparse.Namespace) -> str:
    """Which rule of spec.serving.batching the options break, in options; "" if none."""
    sizes, delay = options.preferred_batch_sizes, options.max_queue_delay
    if len(sizes) > _PREFERRED_SIZES:
        return f"--preferred-batch-sizes takes at most {_PREFERRED_SIZES} sizes"
    if sizes and max(sizes) > options.max_batch_size:
        return f"--preferred-batch-sizes must not exceed --max-batch-size ({options.max_batch_size})"
    if sizes and not delay:
        return "--preferred-batch-sizes needs --max-queue-delay: without it nothing is joined"
    if options.batch == BATCH_NONE and delay:
        return "--batch is None: nothing is joined, so --max-queue-delay must be 0"
    return ""


def _served(options: argparse.Namespace) -> ServeRequest:
    if wrong := _unfit(options):
        raise ValueError(wrong)
    given = Path(options.model).absolute()
    path = given / MODEL_FILE if given.is_dir() else given
    beside = path.parent.parent / PROBE_FILE  # where optimize leaves it
    return ServeRequest(
        name=options.name or given.stem,
        model=str(path),
        sha256=digest(path),
        probe=options.probe or (str(beside) if path.name == MODEL_FILE and beside.is_file() else ""),
        graph_level=options.graph_level or "All",
        providers=_providers(options),
        max_batch_size=options.max_batch_size,
        max_queue_delay_microseconds=options.max_queue_delay,
        preferred_batch_sizes=options.preferred_batch_sizes,
        default_timeout_microseconds=options.default_timeout,
        max_queue_size=options.max_queue_size or MAX_QUEUE_SIZE,
        instances=options.instances,
        batch=options.batch,
    )


def _loadtest_request(options: argparse.Namespace) -> LoadTestRequest:
    loads = tuple(Load(batch, callers) for batch in options.batch_sizes for callers in options.concurrency)
    return LoadTestRequest(
        options.name, options.host, options.probe, loads, http_port=options.http_port, batch=options.batch
    )


def _probe_request(options: argparse.Namespace) -> ProbeRequest:
    return ProbeRequest(
        options.name, options.host, options.probe, http_port=options.http_port, grpc_port=options.grpc_port
    )


if __name__ == "__main__":
    sys.exit(main())
