"""The table of stages, and of what else a container of the runtime image does.

Both sides derive from it whatever they must know of a stage: the operator its Job, phase and condition, the runtime the types
of its request and result, and the process in which it runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, BenchmarkResult, benchmark_report
from onnxmodel_runtime.contract.fetch import FetchRequest
from onnxmodel_runtime.contract.loadtest import LoadTestRequest, LoadTestResult
from onnxmodel_runtime.contract.optimize import OptimizeRequest, OptimizeResult, optimization_report
from onnxmodel_runtime.contract.probe import ProbeRequest, ProbeResult
from onnxmodel_runtime.contract.repository import RepositoryRequest, RepositoryResult
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.contract.store import PullRequest, PushRequest, PushResult, SweepRequest
from onnxmodel_runtime.contract.validate import ValidateRequest, ValidateResult, validation_report
from onnxmodel_runtime.contract.volume import CALIBRATION_DATA_FOLDER, SOURCE_FOLDER

Request = (
    FetchRequest
    | ValidateRequest
    | OptimizeRequest
    | BenchmarkRequest
    | LoadTestRequest
    | ProbeRequest
    | ServeRequest
    | RepositoryRequest
    | PullRequest
    | PushRequest
    | SweepRequest
)
Result = (
    ValidateResult | OptimizeResult | BenchmarkResult | LoadTestResult | ProbeResult | RepositoryResult | PushResult
)

FETCH, SERVE, REPOSITORY = "fetch", "serve", "repository"
PULL, PUSH, SWEEP = "pull", "push", "sweep"
"""Commands that are not stages: containers of a stage's Job, of a server's pod, or (sweep) of the platform's own Job."""
MOVING = (FETCH, PULL, PUSH)
"""Commands that move bytes and parse no model. Only their containers have credentials."""


class Stage(StrEnum):
    """The stages, in the order in which they run. Each is one Job."""

    VALIDATE = "validate"
    OPTIMIZE = "optimize"
    BENCHMARK = "benchmark"
    LOADTEST = "loadtest"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Isolation:
    """The part of a request that the sandboxed child process of a command needs before it reads the rest.

    providers: names of the execution providers that load the model in it. Its memory is limited if CPU is the only one, for
    the others map far more than they use. seconds: after how long it is killed, 0 for never.
    """

    providers: Callable[[Any], Sequence[str]]
    seconds: Callable[[Any], float] = lambda _: 0.0


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A command of the runtime image: `onnxmodel NAME --request JSON`.

    result: None for a command that leaves none. isolated: it runs in a sandboxed child process, because it hands the model
    to native code; None where it does not. report: the path where the whole outcome of a request is kept, None for nowhere.
    """

    name: str
    request: type[Any]
    result: type[Any] | None = None
    isolated: Isolation | None = None
    report: Callable[[Any], PurePath | None] = lambda _: None


@dataclass(frozen=True, slots=True)
class StageSpec(CommandSpec):
    """A stage: a command that runs as a Job.

    phase: status.phase while the Job runs. condition: its type in status.conditions, "" for a stage without one.
    writes: its Job mounts the model's volume for writing. directory: it fills a folder of its own there, named by its digest;
    its request has a field `directory`. collects: its Job first removes folders that no spec can go back to.
    as_server: its Job gets the server's resources and GPUs, not those of settings.jobs. ports: it is a client of the
    revision's server, at the field `host` of its request and at these, one for each protocol that it speaks. works: it keeps
    a node busy for longer than a moment. measures: its figures are worth nothing on a node where another stage works.
    """

    phase: str = ""
    condition: str = ""
    writes: bool = False
    directory: bool = False
    collects: bool = False
    as_server: bool = False
    ports: tuple[str, ...] = ()
    works: bool = True
    measures: bool = False

    @property
    def stage(self) -> Stage:
        """The stage of this row."""
        return Stage(self.name)

    @property
    def asks_server(self) -> bool:
        """It is a client of the revision's server."""
        return bool(self.ports)


STAGES: Mapping[Stage, StageSpec] = {
    row.stage: row
    for row in (
        StageSpec(
            Stage.VALIDATE,
            ValidateRequest,
            ValidateResult,
            isolated=Isolation(lambda _: ("CPU",), lambda request: request.timeout_seconds),
            report=validation_report,
            phase="Validating",
            condition="Validated",
            writes=True,
        ),
        StageSpec(
            Stage.OPTIMIZE,
            OptimizeRequest,
            OptimizeResult,
            isolated=Isolation(lambda request: request.providers.names),
            report=optimization_report,
            phase="Optimizing",
            condition="Optimized",
            writes=True,
            directory=True,
            collects=True,
            as_server=True,
        ),
        StageSpec(
            Stage.BENCHMARK,
            BenchmarkRequest,
            BenchmarkResult,
            isolated=Isolation(lambda request: request.providers.names),
            report=benchmark_report,
            phase="Benchmarking",
            condition="Benchmarked",
            writes=True,
            directory=True,
            as_server=True,
            measures=True,
        ),
        StageSpec(
            Stage.LOADTEST,
            LoadTestRequest,
            LoadTestResult,
            phase="LoadTesting",
            ports=("http_port",),
            measures=True,
        ),
        StageSpec(
            Stage.PROBE,
            ProbeRequest,
            ProbeResult,
            phase="Probing",
            ports=("http_port", "grpc_port"),
            works=False,
        ),
    )
}

FOLDERS = (SOURCE_FOLDER, CALIBRATION_DATA_FOLDER, *(row.name for row in STAGES.values() if row.directory))
"""Folders of the model's volume whose content is named by the first 16 digits of a digest."""

COMMANDS: Mapping[str, CommandSpec] = {
    row.name: row
    for row in (
        CommandSpec(FETCH, FetchRequest),
        *STAGES.values(),
        CommandSpec(SERVE, ServeRequest),
        CommandSpec(
            REPOSITORY,
            RepositoryRequest,
            RepositoryResult,
            isolated=Isolation(lambda request: request.serve.providers.names),
        ),
        CommandSpec(PULL, PullRequest),
        CommandSpec(PUSH, PushRequest, PushResult),
        CommandSpec(SWEEP, SweepRequest),
    )
}
RESULTS: Mapping[str, type[Any]] = {row.name: row.result for row in COMMANDS.values() if row.result}
