"""A model's whole road on one machine and without a cluster: `onnxmodel run onnxmodel.yaml`.

The decisions are the operator's own (plan, summarize), and each stage is the command that a Job runs, so that the verdict,
the results and the reports are those of a cluster. What a cluster adds is played here: a Job is a process, the volume is a
folder, the Deployment is a server on loopback.
"""

import argparse
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from onnxmodel_operator import names
from onnxmodel_operator.api.manifest import KubernetesLoader, RepeatedKey, envelope_errors
from onnxmodel_operator.api.resource import OnnxModel, SpecError, parse
from onnxmodel_operator.observe import Ended, JobSeen, Observed, RevisionSeen
from onnxmodel_operator.observe.memory import read
from onnxmodel_operator.plan import COMMANDS, Plan, Progress, Revision, State, Step, plan
from onnxmodel_operator.platform import settings
from onnxmodel_operator.platform.settings import Settings, SettingsError
from onnxmodel_operator.status import summarize
from onnxmodel_runtime.contract.codec import ContractError, dumps, load
from onnxmodel_runtime.contract.fetch import FetchRequest
from onnxmodel_runtime.contract.outcome import ExitCode, Failure, Outcome, decode, encode
from onnxmodel_runtime.contract.parser import Parser
from onnxmodel_runtime.contract.providers import GPU_PROVIDERS
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.serve import MAX_QUEUE_SIZE
from onnxmodel_runtime.contract.stages import FETCH, REPOSITORY, RESULTS, SERVE, STAGES, Stage
from onnxmodel_runtime.contract.validate import PUBLIC_KEY_VARIABLE
from onnxmodel_runtime.contract.volume import ARTIFACTS

_DEFECT, _USAGE = 1, 2
_IMAGES = {"runtimeCpu": "local", "runtimeGpu": "local", "triton": "local"}
_READY_SECONDS = 600.0
_STATUS_FILE = "status.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the road, and return the exit code: 0 Ready, 10 refused, 11 something outside was not there, 1 a defect."""
    parser = _parser()
    options = parser.parse_args(argv)
    named = (options.manifest, options.settings, options.model, options.golden, options.calibration, options.signature)
    parser.needs(*(str(place) for place in named if place and str(place) != "-"))
    try:
        model = _model(options.manifest, options.name)
        platform = _settings(options.settings) if options.settings else _platform(model)
        key = _key(options)
    except OSError as error:
        parser.error(f"{str(error.filename)!r} cannot be read: {error.strerror}")
    except (SpecError, SettingsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return _USAGE
    with _folder(options.out) as folder:
        places = {
            "uri": options.model,
            "golden_uri": options.golden,
            "signature_uri": options.signature,
            "calibration": options.calibration,
        }
        road = Road(model, platform, folder, {name: place for name, place in places.items() if place}, key)
        return _report(road, options, road.run(Stage(options.until)))


class Road:
    """One model's way through the stages.

    folder: what the volume is in a cluster. places: fields of the fetch, and "calibration" for the URI of that one, -> local
    paths to take instead.
    """

    def __init__(
        self, model: OnnxModel, platform: Settings, folder: Path, places: Mapping[str, str], public_key: str = ""
    ) -> None:
        self.model, self.settings, self.folder, self.places = model, platform, folder, dict(places)
        self.jobs: dict[tuple[str, str], JobSeen] = {}
        self.revisions: dict[str, RevisionSeen] = {}
        self.routed: str | None = None
        self.server: subprocess.Popen[bytes] | None = None
        self.ports = dict.fromkeys(("http_port", "grpc_port", "metrics_port"), 0)
        self.last: Outcome | None = None
        self.environment = {**os.environ, PUBLIC_KEY_VARIABLE: public_key}

    def run(self, until: Stage) -> Plan:
        """Decide and carry out until nothing is left to do, or the stage `until` is done."""
        try:
            while True:
                decided = self._decide()
                step, revision = decided.job, decided.revision
                self.routed = decided.route
                if step and (step.stage, step.digest) not in self.jobs:
                    self._stage(step)
                elif revision and not self.revisions.get(revision.short) and decided.progress.phase == "Deploying":
                    self._serve(revision)
                elif decided.progress.reason != "Switching":  # which is done: routed is what was decided
                    return decided
                if step and step.stage is until:
                    return self._decide(until)
        finally:
            self._stop()

    def observed(self) -> Observed:
        """What a cluster would hold now."""
        return Observed("local", False, self.jobs, self.revisions, self.routed, {}, memory=read(self.model.status))

    def _decide(self, done: Stage | None = None) -> Plan:
        """What comes next, and the status. done: after which stage nothing does, unless it failed."""
        now = datetime.now(UTC)
        decided = plan(self.model, self.observed(), self.settings, now)
        if done and decided.progress.state is State.RECONCILING and not decided.progress.trouble:
            message = f"{done} is done, and nothing was refused; --until {done} starts no later stage"
            decided = dataclasses.replace(decided, progress=Progress(State.SUSPENDED, *2 * ("Suspended",), message))
        status = summarize(self.model, self.observed(), decided, now)
        self.model = dataclasses.replace(self.model, status=status)
        return decided

    def _stage(self, step: Step) -> None:
        """Run a Job's containers, one after the other."""
        started, outcome = datetime.now(UTC), Outcome(step.stage, 0.0)
        code, stage = ExitCode.OK.value, step.stage.value
        if step.fetch:
            places = _places(step.fetch, self.places)
            fetch = dataclasses.replace(step.fetch, **places)
            if places:
                self._forget(step.fetch.directory)
            code, outcome = self._container(FETCH, fetch)
            stage = FETCH if code else stage
        if code == ExitCode.OK:
            request = step.request
            if step.stage is Stage.BENCHMARK:  # no cluster has this resource, which the page would speak of
                request = dataclasses.replace(request, namespace="", name="")
            if STAGES[step.stage].asks_server:
                ports = {name: port for name, port in self.ports.items() if hasattr(request, name)}
                request = dataclasses.replace(request, host="127.0.0.1", **ports)
            code, outcome = self._container(step.stage, request)
        self.last = outcome
        ended = None
        if code != ExitCode.OK:
            failure = outcome.failure or Failure(
                "InternalError", f"{stage} ended with exit code {code}", "Its output is above."
            )
            ended = Ended(failure, code, _time(datetime.now(UTC)), terminal=True, findings=outcome.findings)
        self.jobs[step.stage, step.digest] = JobSeen(
            name=step.job,
            stage=step.stage,
            digest=step.digest,
            state="Failed" if ended else "Succeeded",
            start_time=_time(started),
            completion_time=_time(datetime.now(UTC)),
            outcome=None if ended else outcome,
            message=None if ended else encode(outcome),
            ended=ended,
            attempts=int(ended is not None),
            waiting=None,
            pods=1,
        )

    def _forget(self, directory: str) -> None:
        """A person's own file changes under its name, unlike what a cluster fetched."""
        path = Path(directory.replace(ARTIFACTS, str(self.folder), 1))
        shutil.rmtree(path, ignore_errors=True)
        for beside in path.parent.glob(f"{path.name}.*"):
            beside.unlink()

    def _container(self, command: str, request: Any) -> tuple[int, Outcome]:
        """A container's exit code and outcome, with the volume's paths as a cluster has them."""
        print(f"== {command}", file=sys.stderr, flush=True)
        message = self.folder / f".{command}.termination"
        message.write_text("")
        code = subprocess.run(
            self._command(command, request),
            env={**self.environment, "ONNXMODEL_TERMINATION_LOG": str(message)},
            stdout=sys.stderr,
            check=False,
        ).returncode
        text = message.read_text()
        message.unlink()
        if command == FETCH and code == ExitCode.OK:
            return code, Outcome(command, 0.0)
        try:
            outcome = decode(text)
        except ContractError:
            return code or _DEFECT, Outcome(command, 0.0)
        return code, _moved(outcome, str(self.folder), ARTIFACTS)

    def _command(self, command: str, request: Any) -> list[str]:
        data = json.loads(dumps(request))
        text = json.dumps(_replaced(data, ARTIFACTS, str(self.folder)))
        return [sys.executable, "-m", "onnxmodel_runtime", command, "--request", text, "--local"]

    def _serve(self, revision: Revision) -> None:
        """Start the server as the Deployment's pod does, and wait until it is ready.

        For a model that Triton shall serve, its repository is laid out as there, and the ONNX Runtime server stands in.
        """
        if revision.triton and (ended := self._lay_out(revision)):
            self._served(revision, ended)
            return
        print("== serve", file=sys.stderr, flush=True)
        self.ports = dict(zip(self.ports, _free_ports(len(self.ports)), strict=True))
        ports: dict[str, Any] = dict(self.ports)
        queue = revision.request.max_queue_size or MAX_QUEUE_SIZE
        request = dataclasses.replace(revision.request, host="127.0.0.1", max_queue_size=queue, **ports)
        message = self.folder / ".serve.termination"
        message.write_text("")
        self.server = subprocess.Popen(
            self._command(SERVE, request),
            env={**self.environment, "ONNXMODEL_TERMINATION_LOG": str(message)},
            stdout=sys.stderr,
        )
        ready, ended = self._wait_ready(), None
        if not ready:
            code = self.server.poll()
            failure = Failure("InternalError", f"the server ended with exit code {code}", "Its output is above.")
            with suppress(ContractError):
                failure = decode(message.read_text()).failure or failure
            ended = Ended(failure, code, _time(datetime.now(UTC)), terminal=True)
        message.unlink(missing_ok=True)
        self._served(revision, ended)

    def _lay_out(self, revision: Revision) -> Ended | None:
        """How laying out Triton's repository ended, if it did not succeed."""
        directory = f"{ARTIFACTS}/triton/{revision.short}"
        request = RepositoryRequest(revision.request, directory, revision.placement.gpus, revision.triton)
        code, outcome = self._container(REPOSITORY, request)
        if code == ExitCode.OK:
            return None
        defect = Failure("InternalError", f"{REPOSITORY} ended with exit code {code}", "Its output is above.")
        return Ended(outcome.failure or defect, code, _time(datetime.now(UTC)), terminal=True)

    def _served(self, revision: Revision, ended: Ended | None) -> None:
        """What the Deployment would say: all replicas are available, or none, and how they ended."""
        wanted = revision.replicas
        available = 0 if ended else wanted
        runtime = "triton" if revision.triton else "onnxruntime"
        self.revisions[revision.short] = RevisionSeen(
            revision.name, revision.short, wanted, available, available, not ended, False, ended, None, runtime
        )

    def _wait_ready(self) -> bool:
        assert self.server is not None
        url = f"http://127.0.0.1:{self.ports['http_port']}/v2/health/ready"
        deadline = time.monotonic() + _READY_SECONDS
        while self.server.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), urllib.request.urlopen(url, timeout=5):
                return True
            time.sleep(0.1)
        return False

    def _stop(self) -> None:
        if self.server is not None:
            self.server.terminate()
            try:
                self.server.wait(60)
            except subprocess.TimeoutExpired:
                self.server.kill()


# ---- what a cluster would know ---------------------------------------------------------------------------------------


def _model(manifest: Path, name: str) -> OnnxModel:
    """The OnnxModel of a manifest, which may hold other objects too. Raises ValueError, SpecError."""
    documents = _documents(manifest)
    items = [item for item in documents if isinstance(item, dict) and item.get("kind") == names.KIND]
    for item in items:
        metadata = item.get("metadata")
        if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
            raise ValueError(
                f"{manifest}: an {names.KIND} has no metadata.name, or one that is no text; give it a name"
            )
    found = [item for item in items if name in ("", item["metadata"]["name"])]
    if len(found) != 1:
        known = ", ".join(item["metadata"]["name"] for item in items) or _others(documents)
        wanted = f"{names.KIND} {name!r}" if name else f"{names.KIND}{' (choose one with --name)' if items else ''}"
        raise ValueError(f"{manifest} must hold one {wanted}; it has {known}")
    if wrong := envelope_errors(found[0]):
        raise SpecError(wrong)
    metadata = {"namespace": "default", **found[0]["metadata"], "uid": "local", "generation": 1}
    return parse({**found[0], "metadata": metadata, "status": {}})


def _others(documents: Sequence[Any]) -> str:
    """What a manifest holds that has no OnnxModel."""
    kinds = [str(item.get("kind") or "an object without kind") for item in documents if isinstance(item, dict)]
    kinds += ["what is no object" for item in documents if item is not None and not isinstance(item, dict)]
    return f"none, only {', '.join(dict.fromkeys(kinds))}" if kinds else "none"


def _documents(path: Path) -> list[Any]:
    """The documents of a YAML file; "-": of standard input. Raises ValueError that names the line."""
    where = "standard input" if str(path) == "-" else str(path)
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        return list(yaml.load_all(text, KubernetesLoader))
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is no text in UTF-8; is it a YAML file?") from error
    except RepeatedKey as error:
        raise ValueError(f"{where}, line {error.line}: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark, what = error.problem_mark or error.context_mark, " ".join((error.problem or error.context or "").split())
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{where}{at} is no YAML: {what}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is no YAML: {' '.join(str(error).split())}") from error


def _settings(path: Path) -> Settings:
    """The platform's settings, or the chart's values with them. Which images a cluster runs does not matter here."""
    data = next(iter(_documents(path)), None)
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: a mapping is expected")
    return settings.parse({**data.get("settings", data), "images": _IMAGES})


def _key(options: argparse.Namespace) -> str:
    """The public key's text; people give its file."""
    given: str = options.public_key
    return given if not given or "-----BEGIN" in given else Path(given).read_text()


def _platform(model: OnnxModel) -> Settings:
    """This machine as a platform: one pool that has whatever the model asks for; the providers themselves will tell."""
    wanted = model.spec.serving.execution_providers or ["CPU"]
    pool: dict[str, Any] = {"executionProviders": list(wanted)}
    if GPU_PROVIDERS & set(wanted):
        pool["gpuResource"] = "nvidia.com/gpu"
    name = model.spec.serving.node_pool or "default"
    return settings.parse(
        {
            "images": _IMAGES,
            "pools": {name: pool},
            "defaults": {"pool": name},
        }
    )


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="onnxmodel-") as folder:
        yield Path(folder)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [item.getsockname()[1] for item in sockets]
    finally:
        for item in sockets:
            item.close()


def _places(fetch: FetchRequest, given: Mapping[str, str]) -> dict[str, Any]:
    """What to take instead. What the manifest does not ask for is not asked for here either."""
    if fetch.kind == "calibration":
        return {"uri": given["calibration"]} if "calibration" in given else {}
    return {name: place for name, place in given.items() if getattr(fetch, name, "")}


def _moved(outcome: Outcome, folder: str, to: str) -> Outcome:
    """The outcome with paths below `to`."""
    data = _replaced(json.loads(dumps(outcome)), folder, to)
    result = data.pop("result")
    moved = load(Outcome, data)
    return dataclasses.replace(moved, result=load(RESULTS[moved.command], result) if result else None)


def _replaced(value: Any, old: str, new: str) -> Any:
    match value:
        case str() if value == old or value.startswith(f"{old}/"):
            return new + value.removeprefix(old)
        case list():
            return [_replaced(item, old, new) for item in value]
        case dict():
            return {key: _replaced(item, old, new) for key, item in value.items()}
    return value


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


# ---- for the person who runs it --------------------------------------------------------------------------------------


def _report(road: Road, options: argparse.Namespace, decided: Plan) -> int:
    status = dict(road.model.status)
    (road.folder / _STATUS_FILE).write_text(yaml.safe_dump(status, sort_keys=False))
    failure = status.get("lastFailure")
    if options.output == "json":
        print(json.dumps(status, indent=2))
    elif options.output == "sarif":
        print(_sarif(road.last, road.places.get("uri") or road.model.spec.source.uri))
    else:
        print(f"\n{road.model.name}: {decided.progress.message}")
        if failure:
            print(f"{failure['reason']} [{failure.get('field') or failure['stage']}]")
            print(f"hint: {failure['hint'].partition(COMMANDS)[0]}")
        if options.out:
            print(f"artifacts, reports and {_STATUS_FILE}: {road.folder}")
    if failure:
        return (
            failure.get("exitCode")
            if failure.get("exitCode") in (ExitCode.REFUSED, ExitCode.RETRY)
            else (ExitCode.REFUSED if decided.progress.state is State.STALLED else _DEFECT)
        )
    return ExitCode.OK


def _sarif(outcome: Outcome | None, uri: str) -> str:
    """By the runtime's own command: how findings look is its knowledge."""
    text = dumps(outcome) if outcome else ""
    command = [sys.executable, "-m", "onnxmodel_runtime.reporting.sarif", uri]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.rstrip("\n")


def _parser() -> Parser:
    parser = Parser(
        prog="onnxmodel run",
        description="Run every stage of an OnnxModel here, without a cluster, with the verdict that a cluster would give.",
        epilog="Exit codes: 0 Ready (or --until's stage is done); 2 the command line, the manifest or the settings are wrong, or "
        "a file is not there; 10 refused; 11 something outside was not there, try "
        "again; 1 a defect. Credentials come from the environment, as in the model's Secret.",
    )
    parser.add_argument("manifest", type=Path, help="a YAML file with an OnnxModel; - for standard input")
    parser.add_argument("--name", default="", help="which OnnxModel, where the file has several")
    parser.add_argument("--model", default="", metavar="PATH", help="take the model from here instead of source.uri")
    parser.add_argument("--golden", default="", metavar="PATH", help="take golden data from here")
    parser.add_argument("--calibration", default="", metavar="PATH", help="take calibration data from here")
    parser.add_argument("--signature", default="", metavar="FILE", help="take the signature from here")
    parser.add_argument("--public-key", default="", metavar="PEM", help="of the signature: a file, or its text")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep artifacts and reports here")
    parser.add_argument("--settings", type=Path, metavar="YAML", help="the platform's settings (settings of the chart)")
    parser.add_argument(
        "--until", choices=[stage.value for stage in Stage], default=Stage.PROBE.value, help="stop after it"
    )
    parser.add_argument("--output", choices=("text", "json", "sarif"), default="text", help="json: the status")
    return parser


if __name__ == "__main__":
    sys.exit(main())
