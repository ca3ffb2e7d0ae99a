"""A stage in a process of its own. Standard library only, as the parent has it: the light process of the Job imports this."""

from onnxmodel_runtime.contract.codec import dumps, load
from onnxmodel_runtime.contract.stages import COMMANDS, RESULTS, Request, Result
from onnxmodel_runtime.sandbox import parent
from onnxmodel_runtime.sandbox.progress import log
from onnxmodel_runtime.stages.culprit import without


def run(command: str, request: Request) -> Result:
    """Run the stage `command` in a child process. Raises StageError, or InternalError for a defect of ours.

    A candidate that ends the benchmark is left out of the next try. The original cannot be.
    """
    isolated = COMMANDS[command].isolated
    assert isolated, f"{command} needs no process of its own"
    limit = isolated.seconds(request)
    while True:
        ended = parent.launch(("onnxmodel_runtime.stages", command), dumps(request), limit)
        report = ended.report
        if report is not None and "result" in report:
            result: Result = load(RESULTS[command], report["result"])
            return result
        error = parent.failed(ended, command)
        smaller = without(request, error, ended.step.suspect)
        if smaller is None:
            raise error
        log(f"retrying without it: {error}")
        request = smaller
