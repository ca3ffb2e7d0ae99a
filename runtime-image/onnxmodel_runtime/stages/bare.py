"""Serve a model from the command line by the rules of the stages, whether or not a stage has seen it.

The manifest beside a variant says what the optimize stage found. Any other file goes through that stage first, without
variants: it finds the sizes, the batch axis and the graph level at which the model answers as it does unoptimized, and
writes a probe. A model that the stage refuses is not served, unless only the inputs that were made for it do not fit.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from onnxmodel_runtime.contract.model import BATCH_NONE
from onnxmodel_runtime.contract.optimize import OptimizeRequest, OptimizeResult, Variant
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sandbox.progress import log
from onnxmodel_runtime.stages import apart, manifest

_BATCH_SIZES = (1, 3, 8)  # as OptimizeRequest has them
_NO_INPUTS = ("InferenceFailed", "UnsupportedDatatype")  # what made inputs are to blame for


@contextmanager
def proven(request: ServeRequest, *, golden: bool = False, chosen: bool = False) -> Iterator[ServeRequest]:
    """Complete a request. The probe that is made for it exists as long as the context.

    golden: whether golden data lie beside the model. chosen: whether a person chose the graph level. A model that fails on
    made inputs, which prove nothing against it, is served unoptimized unless a level was chosen, with a warning. Raises
    StageError for anything else that the stage refuses.
    """
    known = manifest.variant(Path(request.model), request.sha256)
    if known is not None:
        yield _completed(request, *known)
        return
    if Path(request.model).suffix == ".ort":
        yield _unproven(request, "the stages cannot read a graph in the ORT format", chosen)
        return
    with tempfile.TemporaryDirectory(prefix="onnxmodel-") as folder:
        yield _proven(request, Path(folder), golden, chosen)


def _completed(request: ServeRequest, variant: Variant, batch: str, probe: str = "") -> ServeRequest:
    return replace(
        request,
        probe=request.probe or probe,
        # What the author asks for is the highest level that may be used.
        graph_level=variant.graph_level if request.graph_level == "All" else request.graph_level,
        unjoined=variant.unjoined,
        batch=batch if request.batch != BATCH_NONE else BATCH_NONE,
        data_sha256=variant.data_sha256,
    )


def _proven(request: ServeRequest, folder: Path, golden: bool, chosen: bool) -> ServeRequest:
    names = tuple(dict.fromkeys((*request.providers.names, "CPU")))
    asked = OptimizeRequest(
        request.model,
        request.sha256,
        str(folder),
        (),
        request.graph_level,
        tuple(size for size in _BATCH_SIZES if size <= max(request.max_batch_size, 1)),
        request.tolerance,
        # A provider that is not here is for the server to refuse, or for Triton to have.
        replace(request.providers, names=names, fallback="Allow"),
        golden=golden,
        max_batch_size=request.max_batch_size,
        batch=request.batch,
    )
    try:
        result = apart.run(Stage.OPTIMIZE, asked)
    except StageError as error:
        if golden or error.failure.reason not in _NO_INPUTS:
            raise
        return _unproven(request, error.failure.message.rstrip("."), chosen)
    assert isinstance(result, OptimizeResult)
    if result.lowered:
        log(result.lowered)
    return _completed(replace(request, graph_level="All"), result.variants[0], result.batch, result.probe)


def _unproven(request: ServeRequest, why: str, chosen: bool) -> ServeRequest:
    level = request.graph_level if chosen else "None"
    served = f"It is served at graph level {level}, each request alone"
    if request.probe:
        log(f"warning: only the probe verifies this model: {why}. {served}")
    else:
        log(
            f"warning: nothing verifies that this model's outputs match those without optimization: {why}. "
            f"{served}. Provide inputs that it accepts (--probe, which onnxmodel optimize writes from golden "
            "data)"
        )
    return replace(request, graph_level=level, batch=BATCH_NONE)
