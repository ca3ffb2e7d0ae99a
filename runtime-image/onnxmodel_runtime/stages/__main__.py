"""The process of one stage that reads a model: `python -m onnxmodel_runtime.stages STAGE PIPE`, started by sandbox/parent.py."""

import sys

from onnxmodel_runtime.contract.stages import COMMANDS, StageSpec
from onnxmodel_runtime.sandbox import child
from onnxmodel_runtime.stages import work


def main() -> None:
    """Run the stage that the command line names. Its module is imported after the limits are set."""
    row = COMMANDS[sys.argv[1]]
    assert row.isolated, row.name
    child.main(
        row.request,
        lambda request: work(row.name)(request),
        row.isolated.providers,
        keep_memory=isinstance(row, StageSpec) and row.measures,  # what is measured has its memory as the server will
    )


main()
