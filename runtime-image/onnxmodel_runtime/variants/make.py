"""Make one variant and prove it. Runs in a process of its own, in the work folder."""

import contextlib
import dataclasses
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import onnxruntime as ort

from onnxmodel_runtime.contract.codec import load
from onnxmodel_runtime.contract.model import Parity
from onnxmodel_runtime.contract.optimize import OptimizeRequest, Pass, Variant
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.errors import (
    StageError,
    clip,
    out_of_memory,
    ran_out_of_memory,
    runtime_message,
    runtime_words,
    storage_error,
)
from onnxmodel_runtime.models import parity, probefile
from onnxmodel_runtime.models.artifact import data_digest
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.rows.judge import judge_file
from onnxmodel_runtime.sandbox.limits import memory_limit
from onnxmodel_runtime.sandbox.memory import free
from onnxmodel_runtime.sandbox.progress import log, step
from onnxmodel_runtime.variants import (
    FUSION,
    ORT,
    SLIM,
    TOOLS,
    WIDE,
    Case,
    VariantRequest,
    layout,
    passes,
    wide,
)
from onnxmodel_runtime.variants.task import Skip, Task

ORIGINAL_FILE = "original.onnx"
MADE = "made"
_GIVE_GOLDEN = ": if your inputs are different, provide them as golden data (spec.validation.golden)"
# Where the work folder is, and in which C++ function something was found: nothing to a reader.
_PLACES = re.compile(
    r"Load model from \S{1,500} failed: ?|(virtual )?onnxruntime::common::Status onnxruntime::[^)]{1,1000}\)( const)? ?"
)


@dataclass(frozen=True)
class _Done:
    """The result of a pass: the file, and the record of the pass.

    remark: what to know of the file. maker: the pass that made it; "" for the original.
    """

    file: str
    told: Pass
    remark: str = ""
    maker: str = ""


def make(request: VariantRequest) -> Variant:
    """Make the variant below the work folder. Returns it, or why there is none."""
    with contextlib.chdir(request.work), _quiet():
        ort.set_seed(2)
        chain = _run(request)
        told = tuple(done.told for done in chain[1:])
        variant = Variant(request.name, passes=told)
        if all(one.note for one in told) or (request.name != "fp32" and told[-1].note):
            return replace(variant, skipped=_why(request.name, told))
        variant = replace(variant, graph_level=_level(request, told), unjoined=_unjoined(chain))
        return _prove(request, variant, chain[-1])


def _run(request: VariantRequest) -> list[_Done]:
    """Every pass on what the one before left. What another variant had done already is taken from there."""
    if not Path(ORIGINAL_FILE).exists():
        step("preparing the model")
        layout.lay_out(Path(request.optimize.model), Path(ORIGINAL_FILE))
    original = layout.load(Path(ORIGINAL_FILE))
    chain = [_Done(ORIGINAL_FILE, Pass("", len(original.graph.node), layout.size(original)))]
    names = passes(request.name, request.providers)
    large = chain[0].told.bytes > layout.EXTERNAL_ABOVE
    cases = request.cases.recipe
    for index, name in enumerate(names):
        key = "+".join(names[: index + 1])
        record = Path(f"{key}.json")
        last = index + 1 == len(names)
        if record.exists():
            earlier = load(_Done, json.loads(record.read_text()))
            chain.append(_checked(request, chain[-1], earlier, () if last else cases[:1]))
            continue
        suffix = "ort" if name == ORT else "onnx"
        task = Task(request.optimize, Path(chain[-1].file), Path(f"{key}.{suffix}"), cases, large)
        free()
        step(f"building {request.name}: {name}", name)
        if name in request.dead:
            done: _Done | str = request.dead[name]
        else:
            done = _attempt(name, task, cases=() if last else cases[:1])
        if isinstance(done, str):
            log(f"{name}: {done}")
            done = _without(chain[-1], name, done)
        record.write_text(json.dumps(dataclasses.asdict(done)))
        chain.append(done)
    return chain


def _without(before: _Done, name: str, why: str) -> _Done:
    """Return the state after a pass whose file is not used."""
    return replace(before, told=replace(before.told, name=name, note=why), remark="")


def _checked(request: VariantRequest, before: _Done, done: _Done, cases: Sequence[Case]) -> _Done:
    """Compare the last pass of another variant by itself, because others build on it here."""
    if done.told.note:
        return done
    try:
        why = _others(Path(done.file), request.optimize, cases)
    except Exception as error:
        why = _failed(done.told.name, error)
    return _without(before, done.told.name, why) if why else done


def _others(path: Path, request: OptimizeRequest, cases: Sequence[Case]) -> str:
    """Return how the outputs differ from the original's. "" if they do not."""
    for case in cases:
        found = _compare(path, Providers(threads=request.providers.threads), "None", request, [case])
        if not found.passed:
            return f"its outputs differ from the original's: {parity.explain(found, request.tolerance)}"
    return ""


def _attempt(name: str, task: Task, cases: Sequence[Case]) -> _Done | str:
    """Run a pass. A string says why it is as if it had not been."""
    tool = TOOLS[name]
    try:
        run: Callable[[Task], str] = getattr(import_module(f"onnxmodel_runtime.variants.{tool.module}"), tool.function)
        remark = run(task)
        return _objection(task, cases) or _Done(task.target.name, Pass(name, *_measure(task.target)), remark, name)
    except Skip as error:
        return clip(str(error), 400)
    except Exception as error:
        if isinstance(error, OSError) and (full := storage_error(error, Path.cwd())):
            raise full from error
        return _failed(name, error)


def _objection(task: Task, cases: Sequence[Case]) -> str:
    """Return what is wrong with the result of a pass, or "".

    cases: on which outputs must still match the original's.
    """
    if task.target.suffix == ".ort":
        return ""
    before, after = layout.load(task.source), layout.load(task.target)
    if layout.interface(before) != layout.interface(after):
        return "it changes the model's inputs or outputs"
    if layout.likeness(before) == layout.likeness(after):
        return "it changes nothing"
    return _others(task.target, task.request, cases)


def _unjoined(chain: list[_Done]) -> str:
    """Judge the rows in the graph of the served file. For ORT format, in the graph that it is made from."""
    files = [Path(done.file) for done in chain]
    return judge_file(next(file for file in reversed(files) if file.suffix != ".ort")).unjoined


def _prove(request: VariantRequest, variant: Variant, done: _Done) -> Variant:
    external = done.told.bytes > layout.EXTERNAL_ABOVE
    path = layout.publish(Path(done.file), Path.cwd() / MADE / request.name, external=external)
    if done.maker not in (SLIM, FUSION):  # which other variants go on from
        for file in Path.cwd().glob(f"{Path(done.file).stem}.*"):
            file.unlink()
    free()
    step(f"comparing {request.name} with the original")
    try:
        found = _compare(path, request.providers, variant.graph_level, request.optimize, request.cases.proof)
    except StageError as error:
        return replace(variant, skipped=clip(f"{error.failure.message}: {error.failure.hint}", 400))
    except Exception as error:
        return replace(
            variant,
            skipped=clip(f"ONNX Runtime cannot run it, so serve another variant: {_words(error)}", 400),
        )
    if found.passed and request.name in WIDE and (why := _fails_wide(path, request, variant.graph_level)):
        found = replace(found, passed=False, note=why)
    if not found.passed:
        log(f"{request.name}: {parity.explain(found, request.optimize.tolerance)}")
    return replace(
        variant,
        path=str(path),
        sha256=digest(path),
        data_sha256=data_digest(path) if external else "",
        bytes=sum(file.stat().st_size for file in path.parent.iterdir()),
        nodes=done.told.nodes,
        parity=found,
        note=done.remark,
    )


def _fails_wide(path: Path, request: VariantRequest, level: str) -> str:
    """Return how the variant's outputs differ on numbers outside the ranges of the cases. "" if they do not."""
    bound = request.optimize.tolerance
    session = open_session(path, request.providers, level).session
    for case in request.cases.wide:
        try:
            found = wide.judge(_answered(session, [case]), bound)
        except Exception as error:
            if ran_out_of_memory(error):
                return clip(_words(error), 400)
            return clip(f"it fails on generated inputs that are {case.what}: {_words(error)}{_GIVE_GOLDEN}", 400)
        if not found.passed:
            differs = found.note or (
                f"output {found.output!r} differs by up to {found.max_absolute:g} absolute and {found.max_relative:g} "
                f"relative, cosine {found.cosine:g}"
            )
            return clip(f"on generated inputs that are {case.what}, {differs}{_GIVE_GOLDEN}", 400)
    return ""


def _compare(path: Path, providers: Providers, level: str, request: OptimizeRequest, cases: Sequence[Case]) -> Parity:
    session = open_session(path, providers, level).session
    return parity.judge(_answered(session, cases), request.tolerance)


def _answered(session: Any, cases: Sequence[Case]) -> Iterator[tuple[int, parity.Arrays, parity.Arrays]]:
    names = [value.name for value in session.get_outputs()]
    for case in cases:
        inputs, expected = probefile.read(Path(case.file))
        yield case.rows, dict(zip(names, session.run(names, inputs), strict=True)), expected


def _level(request: VariantRequest, told: tuple[Pass, ...]) -> str:
    """Return the graph level of a session that loads the variant."""
    if request.name == "ort":
        return "None"
    if request.name == "fp32" and not told[-1].note:
        from onnxmodel_runtime.variants import runtime

        return runtime.left(request.optimize)
    return request.optimize.graph_level


def _why(name: str, told: tuple[Pass, ...]) -> str:
    if name == "fp32":
        reasons = "; ".join(f"{one.name}: {one.note}" for one in told)
        return clip(f"no pass improved the graph ({reasons}): serve the original", 400)
    return told[-1].note


def _measure(path: Path) -> tuple[int, int]:
    """Nodes and bytes of what a pass left."""
    if path.suffix == ".ort":
        from onnxmodel_runtime.variants import ortfile

        return ortfile.nodes(path), path.stat().st_size
    model = layout.load(path)
    return len(model.graph.node), layout.size(model)


def _failed(name: str, error: Exception) -> str:
    """One sentence: what a tool raises is for its developers."""
    if ran_out_of_memory(error):
        return clip(_words(error), 400)
    said = _words(error)
    kind = type(error).__name__
    return clip(f"{TOOLS[name].maker} cannot process this model, so serve another variant: {kind}: {said}", 400)


def _words(error: Exception) -> str:
    if ran_out_of_memory(error):
        lack = out_of_memory(
            "it ran", clip(runtime_words(error) or "an allocation failed", 100), memory_limit()
        ).failure
        return f"{lack.message}: give the stage more memory (spec.serving.resources)"
    return _PLACES.sub("", runtime_message(error)) or "nothing more"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The tools warn of what is no concern here: of producers, of older opsets, of steps that are done already."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
