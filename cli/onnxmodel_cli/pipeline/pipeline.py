"""A model's whole life on one machine, without a cluster.

The decisions are the operator's own (plan, summarize), and each stage is what a Job runs, so that the verdict, the results
and the reports are those of a cluster. What a cluster adds is played here: a Job is a call, the volume is a folder, the
Deployment is a server on loopback.
"""

import dataclasses
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onnxmodel_cli.pipeline.process import HOST, ServerProcess
from onnxmodel_cli.pipeline.volume import Volume
from onnxmodel_operator.api.resource import OnnxModel
from onnxmodel_operator.observe import Ended, JobSeen, Observed, RevisionSeen
from onnxmodel_operator.observe.memory import read
from onnxmodel_operator.plan import plan
from onnxmodel_operator.plan.values import Plan, Progress, Revision, State, Step
from onnxmodel_operator.platform.settings import Settings
from onnxmodel_operator.status import summarize
from onnxmodel_runtime.contract.fetch import FetchRequest
from onnxmodel_runtime.contract.outcome import ExitCode, Failure, Outcome, encode
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.stages import FETCH, REPOSITORY, SERVE, STAGES, Stage
from onnxmodel_runtime.contract.volume import ARTIFACTS, REPOSITORY_FOLDER


class Pipeline:
    """The pipeline of one model. folder: stands in for the volume of a cluster.

    places: fields of the fetch, and "calibration" for the URI of that one, -> local paths to take instead.
    """

    def __init__(
        self, model: OnnxModel, platform: Settings, folder: Path, places: Mapping[str, str], public_key: str = ""
    ) -> None:
        self.model, self.settings, self.places = model, platform, dict(places)
        self.volume, self._public_key = Volume(folder), public_key
        self.last: Outcome | None = None
        self._jobs: dict[tuple[str, str], JobSeen] = {}
        self._revisions: dict[str, RevisionSeen] = {}
        self._routed: str | None = None
        self._server: ServerProcess | None = None

    def run(self, until: Stage) -> Plan:
        """Decide and carry out until nothing is missing, or the stage `until` is done.

        Each turn adds what is missing: a Job, a server, or the Service's new revision.
        """
        try:
            while True:
                decided = self._decide()
                step, revision = decided.job, decided.revision
                if step and (step.stage, step.digest) not in self._jobs:
                    self._routed = decided.route
                    self._stage(step)
                    if step.stage is until:
                        return self._decide(until)
                elif revision and revision.replicas and revision.short not in self._revisions:
                    self._serve(revision)
                elif self._routed != decided.route:
                    self._routed = decided.route
                else:
                    return decided
        finally:
            if self._server is not None:
                self._server.stop()

    def _observed(self) -> Observed:
        """Return what an operator would observe in a cluster now."""
        return Observed("local", False, self._jobs, self._revisions, self._routed, {}, memory=read(self.model.status))

    def _decide(self, done: Stage | None = None) -> Plan:
        """Decide the next step and update the status. done: the stage after which to stop, unless it failed."""
        now = datetime.now(UTC)
        decided = plan(self.model, self._observed(), self.settings, now)
        if done and decided.progress.state is State.RECONCILING and not decided.progress.trouble:
            message = f"{done} has finished, and nothing was refused; no later stage was run"
            decided = dataclasses.replace(decided, progress=Progress(State.SUSPENDED, *2 * ("Suspended",), message))
        status = summarize(self.model, self._observed(), decided, now)
        self.model = dataclasses.replace(self.model, status=status)
        return decided

    def _stage(self, step: Step) -> None:
        """Run a Job's containers, one after the other."""
        started = datetime.now(UTC)
        code, container, outcome = self._containers(step)
        self.last = outcome
        ended = _ended(container, code, outcome) if code != ExitCode.OK else None
        self._jobs[step.stage, step.digest] = JobSeen(
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

    def _containers(self, step: Step) -> tuple[int, str, Outcome]:
        """The exit code, the name and the outcome of the container that ended last."""
        if step.fetch:
            places = self._places(step.fetch)
            if places:
                self.volume.forget(step.fetch.directory)
            code, outcome = self._run(FETCH, dataclasses.replace(step.fetch, **places))
            if code != ExitCode.OK:
                return code, FETCH, outcome
        request: Any = step.request
        if step.stage is Stage.BENCHMARK:  # no cluster has this resource, which the page would speak of
            request = dataclasses.replace(request, namespace="", name="")
        row = STAGES[step.stage]
        if row.asks_server and self._server:
            ports = {name: self._server.ports[name] for name in row.ports}
            request = dataclasses.replace(request, host=HOST, **ports)
        code, outcome = self._run(step.stage, request)
        return code, step.stage.value, outcome

    def _places(self, fetch: FetchRequest) -> dict[str, Any]:
        """Return the local places that replace the request's. One that the manifest does not ask for is left out."""
        if fetch.kind == "calibration":
            return {"uri": self.places["calibration"]} if "calibration" in self.places else {}
        return {name: place for name, place in self.places.items() if getattr(fetch, name, "")}

    def _run(self, command: str, request: Any) -> tuple[int, Outcome]:
        return self.volume.run(command, request, self._public_key)

    def _serve(self, revision: Revision) -> None:
        """Start the server as the Deployment's pod does, and wait until it is ready.

        For a model that Triton shall serve, its repository is laid out as there, and the ONNX Runtime server stands in.
        """
        ended = self._lay_out(revision) if revision.triton else None
        if not ended:
            print(f"== {SERVE}", file=sys.stderr, flush=True)
            self._server = ServerProcess(
                self.volume.here(revision.request), self.volume.folder / f".{SERVE}.termination"
            )
            if failed := self._server.wait_ready():
                code, failure = failed
                ended = Ended(failure, code, _time(datetime.now(UTC)), terminal=True)
        self._revisions[revision.short] = _seen(revision, ended)

    def _lay_out(self, revision: Revision) -> Ended | None:
        """Lay out Triton's repository. Return how that ended if it failed, else None."""
        directory = f"{ARTIFACTS}/{REPOSITORY_FOLDER}/{revision.short}"
        request = RepositoryRequest(revision.request, directory, revision.placement.gpus, revision.triton)
        code, outcome = self._run(REPOSITORY, request)
        if code == ExitCode.OK:
            return None
        return dataclasses.replace(_ended(REPOSITORY, code, outcome), findings=())


def _ended(container: str, code: int, outcome: Outcome) -> Ended:
    """Return the end of a container that failed."""
    defect = Failure("InternalError", f"{container} exited with code {code}", "See its output above.")
    failure = outcome.failure or defect
    return Ended(failure, code, _time(datetime.now(UTC)), terminal=True, findings=outcome.findings)


def _seen(revision: Revision, ended: Ended | None) -> RevisionSeen:
    """Return what the Deployment would report: all replicas are available, or none, and how they ended."""
    wanted = revision.replicas
    available = 0 if ended else wanted
    runtime = "triton" if revision.triton else "onnxruntime"
    return RevisionSeen(
        revision.name, revision.short, wanted, available, available, not ended, False, ended, None, runtime
    )


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
