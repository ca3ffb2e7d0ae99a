"""The process of one stage that reads a model: `python -m onnxmodel_runtime.stages STAGE PIPE`, started by sandbox/parent.py."""

import sys
from importlib import import_module
from typing import Any

from onnxmodel_runtime.contract.stages import COMMANDS, StageSpec
from onnxmodel_runtime.sandbox import child


def main() -> None:
    """Run the stage that the command line names: the function of that name, in the module of that name."""
    row = COMMANDS[sys.argv[1]]

    def work(request: Any) -> Any:
        return getattr(import_module(f"onnxmodel_runtime.stages.{row.name}"), row.name)(request)

    # What is measured has its memory as the server will.
    child.main(row.request, work, keep_memory=isinstance(row, StageSpec) and row.measures)


main()
