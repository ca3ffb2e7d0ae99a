"""Each variant in a process of its own: what kills that process costs a pass or a variant, and never the stage.

Its memory is free again when it ends. Its hash seed is fixed, for the tools walk through sets and write what they find
in that order; its temporary files lie on the volume of the artifacts, where there is room for models.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from onnxmodel_runtime.contract.codec import dumps, load
from onnxmodel_runtime.contract.optimize import OptimizeRequest, Variant
from onnxmodel_runtime.errors import StageError, clip
from onnxmodel_runtime.sandbox import parent
from onnxmodel_runtime.sandbox.progress import log, step
from onnxmodel_runtime.variants import Cases, VariantRequest, unsupported

_SECONDS = 900.0  # a tool can loop without end; a variant that takes longer is none
_FOR_THE_STAGE = ("StorageFull", "StorageForbidden", "Interrupted")


def make(name: str, request: OptimizeRequest, work: Path, cases: Cases, dead: dict[str, str]) -> Variant:
    """Make the variant and put it into the request's directory; or say why there is none.

    dead: passes that killed a process, and how; shared by all variants, and added to.
    """
    target = Path(request.directory) / name
    if why := unsupported(name, request):
        return _skipped(Variant(name), why, target)
    step(f"building {name}")
    while True:
        ended = parent.launch(
            ("onnxmodel_runtime.variants",),
            dumps(VariantRequest(name, str(work), request, cases, dead)),
            _SECONDS,
            PYTHONHASHSEED="0",
            TMPDIR=str(work),
        )
        report = ended.report
        if report is not None and "result" in report:
            made = load(Variant, report["result"])
            return _published(made, target) if made.path else _skipped(made, made.skipped, target)
        error = parent.failed(ended, name)
        if isinstance(error, StageError) and (error.retry or error.failure.reason in _FOR_THE_STAGE):
            raise error
        tool = ended.step.suspect  # a pass; "" where the process was not in one
        if report is not None or not tool or tool in dead:
            return _skipped(Variant(name), _words(error), target)
        dead[tool] = _words(error)


def _published(made: Variant, target: Path) -> Variant:
    """Move the variant to its place file by file, the model after its data, so that it is whole once it is there."""
    source = Path(made.path)
    target.mkdir(exist_ok=True)
    files = sorted(source.parent.iterdir(), key=lambda file: file == source)
    for file in files:
        file.chmod(0o644)
        file.replace(target / file.name)
    for old in {*target.iterdir()} - {target / file.name for file in files}:
        old.unlink()
    return replace(made, path=str(target / source.name))


def _skipped(variant: Variant, why: str, target: Path) -> Variant:
    """None, and none of an earlier run with another recipe either."""
    shutil.rmtree(target, ignore_errors=True)
    log(f"{variant.name} was skipped: {why}")
    return replace(variant, skipped=why)


def _words(error: Exception) -> str:
    """Describe in a sentence what killed the process, or the defect in it."""
    if isinstance(error, StageError):
        return clip(f"{error.failure.message}: serve another variant", 400)
    return clip(f"internal error in onnxmodel ({error}): please report it, and serve another variant", 400)
