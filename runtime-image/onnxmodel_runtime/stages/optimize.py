"""Make the variants of a model and prove each against the original.

The reference is the original without any graph optimization, on the CPU: neither an optimizer's defect nor a GPU's can
hide in it. Everything else runs on the first provider that was asked for.
"""

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from onnxmodel_runtime.contract.model import BATCH_FIRST, BATCH_NONE, Parity, Tensor
from onnxmodel_runtime.contract.optimize import ORIGINAL, OptimizeRequest, OptimizeResult, Variant
from onnxmodel_runtime.contract.providers import Providers, ProviderUse
from onnxmodel_runtime.contract.volume import GOLDEN_FILE, GOLDEN_FOLDER, PROBE_FILE
from onnxmodel_runtime.errors import StageError, clip, ran_out_of_memory, runtime_message
from onnxmodel_runtime.models import batch_trial, golden, graph, parity, probefile, repair, sizes
from onnxmodel_runtime.models.artifact import check_digest, data_digest
from onnxmodel_runtime.models.inputs import Arrays, Signature, assumed, generate, signature
from onnxmodel_runtime.models.session import Loaded, open_session
from onnxmodel_runtime.rows.judge import judge_graph
from onnxmodel_runtime.sandbox.memory import free
from onnxmodel_runtime.sandbox.progress import log, step
from onnxmodel_runtime.stages import manifest
from onnxmodel_runtime.variants import RECIPES, WIDE, Case, Cases, apart, wide

_WORK = ".work-"  # where variants are made, below the request's directory
LEVELS = ("All", "Extended", "Basic", "None")  # of graph optimization, in the order in which they are tried
_WIDE_SECONDS = 60.0  # for the rows of wide.py, of which a large model answers few


@dataclass(frozen=True)
class _Proof:
    """The original's parity with the reference. level: the graph level used; lowered: why not the requested one."""

    parity: Parity
    use: ProviderUse
    level: str
    lowered: str


def optimize(request: OptimizeRequest) -> OptimizeResult:
    """Return the candidates, the original first. Raises StageError if even the original fails its proof.

    Existing variants of the same model, recipe and tools are not made again: a server may be using them.
    """
    path, directory = Path(request.model), Path(request.directory)
    step("reading the model")
    check_digest(path, request.sha256, request.data_sha256)
    if (made := manifest.made(request)) is not None:
        log(f"{directory} already contains these variants")
        return made
    model = repair.load(path)  # what is read of it below; the file serves as it is
    data = graph.external_files(model, path.parent)
    total = path.stat().st_size + sum(file.stat().st_size for file in data)
    outputs = tuple(graph.describe(value) for value in model.graph.output)
    signed = signature(model, request.batch, request.sizes)
    original = Variant(
        ORIGINAL,
        str(path),
        sha256=request.sha256,
        bytes=total,
        nodes=len(model.graph.node),
        graph_level=request.graph_level,
    )
    data_sha256, unjoined = request.data_sha256 or data_digest(path, data), judge_graph(model).unjoined
    original = dataclasses.replace(original, data_sha256=data_sha256, unjoined=unjoined)
    del model  # with its weights: from here on ONNX Runtime has them
    directory.mkdir(parents=True, exist_ok=True)
    others = [directory / name for name in RECIPES if name not in request.variants]  # of an earlier recipe
    for left in (*directory.glob(f"{_WORK}*"), *others):  # and of a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=_WORK) as folder:
        work = Path(folder)
        signed, cases = references(request, signed, outputs, work)
        proof = _prove_original(request, cases.proof)
        free()
        dead: dict[str, str] = {}
        batch = BATCH_NONE if signed.unbatched else BATCH_FIRST
        made_at = dataclasses.replace(request, graph_level=proof.level, batch=batch)
        variants = [apart.make(name, made_at, work, cases, dead) for name in request.variants]
        if signed.inputs and not request.golden and not tells(cases.proof):
            variants = [_unproven(variant) for variant in variants]
    original = dataclasses.replace(original, parity=proof.parity, graph_level=proof.level, note=proof.lowered)
    result = OptimizeResult(
        (original, *variants),
        str(directory / PROBE_FILE),
        proof.use,
        proof.lowered,
        made_inputs=bool(signed.inputs) and not request.golden,
        batch=batch,
        unbatched=clip(signed.unbatched),
    )
    manifest.write(request, result)
    return result


def references(
    request: OptimizeRequest, signed: Signature, outputs: tuple[Tensor, ...], work: Path
) -> tuple[Signature, Cases]:
    """Run the reference on every case, keep its answers in `work`, and write the probe.

    Returns the signature with what running showed of the batch axis, too.
    """
    # Random operators of two sessions in one process draw equal numbers, and other ones in the server's process.
    ort.set_seed(1)
    session = _reference(Path(request.model), request.providers).session
    load = partial(repair.load, Path(request.model))
    signed = settled_signature(request, signed, outputs, session)
    sample, one = _sample(request, signed, outputs, batched=not signed.unbatched), signed.batch_sizes((1,))[0]
    first = sample.rows(one) if sample else generate(signed, one)
    probefile.write(Path(request.directory, PROBE_FILE), first, _run(session, first))
    recipe = tuple(
        _kept(work / f"case-{index:03}.npz", rows, inputs, _run(session, inputs, rows))
        for index, (rows, inputs) in enumerate(_cases(request, signed, outputs, sample))
    )
    beyond: list[Case] = []
    ranges: tuple[Case, ...] = ()
    largest = set(signed.batch_sizes((request.max_batch_size,))) if request.max_batch_size else set()
    for rows in largest - {*signed.batch_sizes(request.batch_sizes)} if sample is None or sample.shared else ():
        inputs = sample.rows(rows) if sample else generate(signed, rows)
        beyond.append(_kept(work / f"largest-{rows}.npz", rows, inputs, _run(session, inputs, rows)))
    if signed.inputs and not request.golden:
        beyond += _reaching(request, signed, load(), session, work)
    if signed.inputs and not request.golden and set(WIDE).intersection(request.variants):
        ranges = tuple(_wide(request, signed, load(), session, work))
    return signed, Cases(recipe, tuple(beyond), ranges)


def _kept(file: Path, rows: int, inputs: Arrays, answers: Arrays, what: str = "") -> Case:
    probefile.write(file, inputs, answers)
    return Case(str(file), rows, what)


def settled_signature(
    request: OptimizeRequest, signed: Signature, outputs: tuple[Tensor, ...], session: Any
) -> Signature:
    """Return the signature with the facts that running the model shows: sizes of made inputs, and the batch axis."""
    load = partial(repair.load, Path(request.model))
    if not request.golden:  # validate found the sizes that are missing here, where it ran
        signed = sizes.settle(session, signed, load).signed
    signed = _tried(request, signed, outputs, session)
    if not request.golden:  # an axis 0 that is no batch is one more
        signed = sizes.settle(session, signed, load).signed
    return signed


def _reaching(request: OptimizeRequest, signed: Signature, model: Any, session: Any, work: Path) -> Iterator[Case]:
    """A case at the ends of a quantized model's own scales, where the original runs it."""
    found = wide.reaching(signed, model, signed.batch_sizes(request.batch_sizes))
    if found is None:
        return
    rows, inputs = found
    try:
        answers = _quietly(session)(inputs)
    except Exception as error:
        log(f"the original does not run at the ends of its own scales: {runtime_message(error)}")
        return
    yield _kept(work / "reaching.npz", rows, dict(inputs), dict(answers))


def _wide(request: OptimizeRequest, signed: Signature, model: Any, session: Any, work: Path) -> Iterator[Case]:
    """Cases for variants that compute with fewer bits. No pass sees them: they change no byte of a variant."""
    step("running the original on values in other ranges")
    run = _quietly(session)
    sizes = signed.batch_sizes(request.batch_sizes)
    deadline = time.monotonic() + _WIDE_SECONDS
    for index, (what, rows, inputs, answers) in enumerate(wide.cases(signed, model, sizes, request.tolerance, run)):
        yield _kept(work / f"wide-{index:03}.npz", rows, inputs, answers, what)
        if time.monotonic() > deadline:
            log(f"values in other ranges: only {index + 1} cases, because the model is slow")
            break


def _quietly(session: Any) -> batch_trial.Run:
    """Run the model where failures are answers."""
    quiet = ort.RunOptions()
    quiet.log_severity_level = 4
    names = [value.name for value in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs), quiet), strict=True))


def _tried(request: OptimizeRequest, signed: Signature, outputs: tuple[Tensor, ...], session: Any) -> Signature:
    """The signature, with or without a batch axis as golden data and running the model show.

    Where only the outputs declare something else, they may still have a row for each row of input: exporters get that wrong.
    """
    batched = assumed(signed)
    if request.batch == BATCH_NONE:
        return dataclasses.replace(signed, unbatched="spec.validation.batch is None")
    if batched.unbatched:
        return signed
    sample = _sample(request, signed, outputs)
    if sample and not sample.shared:
        return dataclasses.replace(signed, unbatched=golden.DIFFERENT_ROWS)
    step("determining the batch axis")
    rows = sample.rows(batch_trial.ROWS) if sample else generate(batched, batch_trial.ROWS)
    run = _quietly(session)
    first_axes = tuple(axes[0] for axes in signed.symbols)
    why = batch_trial.disproved(run, rows, first_axes, request.tolerance)
    signed = dataclasses.replace(signed, unbatched=why)
    if why:
        log(f"there is no batch axis: {why}")
    if why and sample is None and not _runs(run, generate(signed, 1)) and _runs(run, generate(batched, 1)):
        # As a constant within the model has it: a first axis of 1 is all that it takes.
        taken = tuple(dataclasses.replace(tensor, shape=(1, *tensor.shape[1:])) for tensor in signed.inputs)
        signed = dataclasses.replace(signed, inputs=taken)
    return signed


def _runs(run: batch_trial.Run, inputs: Arrays) -> bool:
    try:
        run(inputs)
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        return False
    return True


def _cases(
    request: OptimizeRequest, signed: Signature, outputs: tuple[Tensor, ...], sample: golden.Sample | None
) -> Iterator[tuple[int, Arrays]]:
    """Inputs at every batch size: the golden data as they are and then rows of them, or made ones where there are none."""
    batches = signed.batch_sizes(request.batch_sizes)
    if request.golden:
        place = golden.beside(Path(request.model).parent, GOLDEN_FOLDER, GOLDEN_FILE)
        try:
            for data in golden.load(place, signed.inputs, outputs, answers=False):
                yield 1 if signed.unbatched else golden.rows(data), data.inputs
        except golden.GoldenError as error:
            raise _unusable(error) from error
    for size in batches if sample is None or sample.shared else ():
        yield size, generate(signed, size) if sample is None else sample.rows(size)


def _sample(
    request: OptimizeRequest, signed: Signature, outputs: tuple[Tensor, ...], *, batched: bool = True
) -> golden.Sample | None:
    if not request.golden:
        return None
    place = golden.beside(Path(request.model).parent, GOLDEN_FOLDER, GOLDEN_FILE)
    try:
        return golden.sample(place, signed.inputs, outputs, batched=batched)
    except golden.GoldenError as error:
        raise _unusable(error) from error


def _unusable(error: golden.GoldenError) -> StageError:
    hint = "Provide the golden data that validation accepted (spec.validation.golden)."
    return StageError("GoldenInvalid", str(error), hint, "spec.validation.golden")


def tells(cases: Sequence[Case]) -> bool:
    """Return whether different inputs have different outputs. If not, equal outputs of a variant prove nothing."""
    first: dict[tuple[str, tuple[int, ...]], Any] = {}
    compared = False
    for case in cases:
        for name, array in probefile.read(Path(case.file))[1].items():
            for piece in array if array.ndim and len(array) == case.rows > 1 else (array,):
                key = (name, np.shape(piece))
                if key in first and not _equal(first[key], piece):
                    return True
                compared = compared or key in first
                first.setdefault(key, piece)
    # One answer alone: numbers that differ among themselves are more than a constant.
    return not compared and any(
        np.size(piece) == 1 or not _equal(piece, np.ravel(piece)[:1]) for piece in first.values()
    )


def _equal(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    return bool(np.all((one == other) | ((one != one) & (other != other))))


def _unproven(variant: Variant) -> Variant:
    if variant.parity is None:
        return variant
    note = "all generated inputs have the same outputs, which proves nothing: provide spec.validation.golden"
    log(f"{variant.name}: {note}")
    return dataclasses.replace(variant, parity=dataclasses.replace(variant.parity, passed=False, note=note))


def _reference(path: Path, providers: Providers) -> Loaded:
    step("running the original without optimizations on the CPU")
    try:
        return open_session(path, Providers(threads=providers.threads), "None")
    except StageError:
        raise
    except Exception as error:
        if "CPU" in providers.names[:1]:
            raise _unloadable(path, error) from error
        log(f"the CPU cannot run the model ({runtime_message(error)}): {providers.names[0]} is its own reference")
        return _load(path, providers, "None")


def _prove_original(request: OptimizeRequest, cases: Sequence[Case]) -> _Proof:
    """Find the highest graph level at which the original on the first provider agrees with the reference.

    Fusions of quantized operators, for example, round differently: a model that its author quantized can lose its
    accuracy at "All" and keep it at "Basic". Raises StageError ProviderDisagrees where no level agrees.
    """
    first: tuple[str, str] | None = None  # the provider, and how its outputs differ at the level that was asked for
    for level in LEVELS[LEVELS.index(request.graph_level) :]:
        ort.set_seed(2)
        loaded = _load(Path(request.model), request.providers, level)
        step(f"comparing the original on {loaded.use.name} at graph level {level} with the reference")
        run = partial(_run, loaded.session)
        read = ((case.rows, *probefile.read(Path(case.file))) for case in cases)
        compared = ((rows, run(inputs, rows), expected) for rows, inputs, expected in read)
        measured = parity.judge(compared, request.tolerance)
        if measured.passed:
            return _Proof(measured, loaded.use, level, _lowered(request.graph_level, level, first))
        differs = parity.explain(measured, request.tolerance)
        log(f"the original differs at graph level {level}: {differs}")
        first = first or (loaded.use.name, differs)
        del run, loaded  # the session's memory, before the next one is loaded
    assert first is not None
    name, differs = first
    raise StageError(
        "ProviderDisagrees",
        f"on {name} the model's own outputs differ from those of an unoptimized run on the CPU, at graph level "
        f"{request.graph_level} and every lower one: {differs}",
        "If the model draws random numbers, export it in evaluation mode. Otherwise use another "
        "execution provider, or relax spec.optimization.parity.",
        "spec.optimization.parity",
    )


def _lowered(asked: str, level: str, first: tuple[str, str] | None) -> str:
    if first is None:
        return ""
    name, differs = first
    return f"graph level {level} is used instead of {asked}: on {name}, {asked} changes the model's outputs ({differs})"


def _load(path: Path, providers: Providers, level: str) -> Loaded:
    free()  # the session before
    step(f"creating an ONNX Runtime session of {path.parent.name}/{path.name}")
    try:
        return open_session(path, providers, level)
    except StageError:
        raise
    except Exception as error:
        raise _unloadable(path, error) from error


def _unloadable(path: Path, error: Exception) -> StageError:
    return StageError(
        "SessionFailed",
        f"ONNX Runtime cannot load {path}: {runtime_message(error)}",
        "Validate the model (onnxmodel validate): it reports what this ONNX Runtime cannot run.",
    )


def _run(session: Any, inputs: Arrays, batch: int = 1) -> Arrays:
    step(f"running the model at batch size {batch}")
    try:
        answers = session.run(None, inputs)
    except StageError:
        raise
    except Exception as error:
        raise StageError(
            "InferenceFailed",
            f"the model fails at batch size {batch}: {runtime_message(error)}",
            "Provide golden data (spec.validation.golden), inputs that the model accepts; or set the sizes "
            "of its dynamic axes in spec.validation.sizes. If only some batch sizes fail, the batch axis is "
            "fixed inside the model.",
        ) from error
    return dict(zip((value.name for value in session.get_outputs()), answers, strict=True))
