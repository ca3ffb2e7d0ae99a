"""Load and run the model: the only proof that this ONNX Runtime has a kernel for each node."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from onnxmodel_runtime.checks import BATCH, INFINITE, NAN, OPERATOR, RUN, SESSION
from onnxmodel_runtime.checks.arithmetic import Readers
from onnxmodel_runtime.checks.memory import Footprint
from onnxmodel_runtime.contract.model import BATCH_UNKNOWN, Tensor
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.contract.text import in_words
from onnxmodel_runtime.contract.validate import Finding
from onnxmodel_runtime.errors import StageError, clip, ran_out_of_memory, runtime_message
from onnxmodel_runtime.models import graph
from onnxmodel_runtime.models.inputs import Arrays, assumed, generate, signature
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.models.sizes import Settled
from onnxmodel_runtime.sandbox.progress import step

_LOCALE = "en_US.UTF-8"
_FEW_ROWS = 3  # what needs more memory than there is for as few rows can serve nobody


@dataclass(frozen=True, slots=True)
class Masks:
    """The outputs that a constant of NaN, or of infinity, reaches which is meant."""

    nan: frozenset[str] = frozenset()
    infinite: frozenset[str] = frozenset()


NO_MASKS = Masks()


def masks(model: Any, found: Iterable[Finding]) -> Masks:
    """By the findings about the constants: those that refuse nothing are meant."""
    reached: list[frozenset[str]] = []
    for check in (NAN, INFINITE):
        meant = {each.target for each in found if each.id == check.id and each.severity == "info"}
        tensors = (
            [each for each in graph.tensors(model) if clip(each.name or "(unnamed)", 200) in meant] if meant else []
        )
        readers = Readers(model) if tensors else None
        reached.append(
            frozenset(output for each in tensors for output in readers.reached(each)) if readers else frozenset()
        )
    return Masks(*reached)


def load(path: Path, model: Any) -> ort.InferenceSession | Finding:
    """Load the model on the CPU, which every image has. Reports why it cannot be loaded."""
    step("creating an ONNX Runtime session")
    try:
        return open_session(path, Providers()).session
    except StageError:
        raise
    except Exception as error:
        return _session_finding(model, runtime_message(error))


def run(
    session: ort.InferenceSession,
    model: Any,
    outputs: tuple[Tensor, ...],
    batches: tuple[int, ...],
    rows: Callable[[int], Arrays] | None = None,
    *,
    known: str = BATCH_UNKNOWN,
    sizes: dict[str, int] | None = None,
    seen: dict[str, list[tuple[int, ...]]] | None = None,
    footprint: Footprint | None = None,
    masks: Masks = NO_MASKS,
) -> Iterator[Finding]:
    """Inferences at each batch size: several sizes only where the batch axis is dynamic.

    rows: gives inputs of so many rows; without it they are made from the signature. known: of the batch axis; sizes: of the
    other dynamic ones. seen: takes the outputs' shapes. footprint: watches the memory. masks: what the model holds on purpose.
    """
    signed = signature(model, known, sizes)
    if len(batches) > 1:
        signed = assumed(signed)  # what outputs declare is what these runs are about
    counts = signed.batch_sizes(batches)
    several = len(counts) > 1
    for batch in counts:
        step(f"running the model at batch size {batch}")
        try:
            given = rows(batch) if rows else generate(signed, batch)
            if footprint:
                footprint.running()
            answers = session.run(None, given)
        except StageError:
            return  # a datatype without inputs is a finding already
        except Exception as error:
            if several and batch > _FEW_ROWS and ran_out_of_memory(error):
                yield RUN.warning(
                    "run",
                    f"memory runs out at batch size {batch}, with the memory of validation",
                    "The server may have more memory. If not, lower spec.serving.batching.maxBatchSize, or provide "
                    "more memory.",
                )
                return
            at = "" if rows else in_words(signed.used)
            yield _run_finding(batch, runtime_message(error), several and batch > 1, rows is not None, at)
            return
        found = [*footprint.judge(batch, alone=batch == signed.batch_sizes(batches)[0])] if footprint else []
        for output, answer in zip(outputs, answers, strict=True):
            if seen is not None and isinstance(answer, np.ndarray):
                seen.setdefault(output.name, []).append(answer.shape)
        found += _judge(outputs, answers, batch if several else 0, "" if rows else in_words(signed.used), masks=masks)
        yield from found
        if found:
            return  # the other sizes would say the same in other numbers


def _session_finding(model: Any, message: str) -> Finding:
    if unknown := re.search(r"(?:([\w.]+):)?(\w+)\(-?\d+\) is not a registered function/op", message):
        domain, operator = unknown.groups()
        names = [graph.node_name(node) for node in graph.nodes(model) if node.op_type == operator]
        return OPERATOR.error(
            names[0] if names else operator,
            f"ONNX Runtime {ort.__version__} does not support the operator {operator} of domain {domain or 'ai.onnx'} "
            f"at this opset; nodes: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}",
            "Export with another opset, or replace the operator with standard ones; libraries of custom "
            "operators are not loaded.",
        )
    if locale := re.search(r"construct locale with name:(.*?):locale::", message):
        names = [graph.node_name(node) for node in graph.nodes(model) if node.op_type == "StringNormalizer"]
        return SESSION.error(
            names[0] if names else "session",
            f"node {names[0] if names else '?'!r} (StringNormalizer) needs the locale {locale.group(1)!r}, "
            "which is not installed",
            ("" if locale.group(1) == _LOCALE else f"Export with locale={_LOCALE!r}. ")
            + f"The runtime image has {_LOCALE}, the operator's default; install it on your own machine "
            "(Debian: apt-get install locales, then localedef -i en_US -f UTF-8 en_US.UTF-8).",
        )
    if no_kernel := re.search(r"Could not find an implementation for (\S+) node with name '([^']*)'", message):
        operator, name = no_kernel.groups()
        return OPERATOR.error(
            name or operator,
            f"ONNX Runtime {ort.__version__} has no CPU kernel for {operator}, node {name or '(unnamed)'}: "
            "the operator exists, but not for these datatypes or this opset",
            "Export with another opset, or cast the node's inputs to FP32.",
        )
    return SESSION.error("session", f"ONNX Runtime {ort.__version__} cannot load the model: {message}")


def no_sizes(settled: Settled, error: Exception) -> Finding:
    """Report that the model runs at none of the sizes that were tried for its dynamic axes.

    error: at the usual ones.
    """
    axes = ", ".join(settled.signed.axes)
    return RUN.error(
        "run",
        "the model fails with inputs generated from its signature, with "
        f"{in_words(settled.signed.used)}{' and with all other sizes that were tried' if settled.searched else ''}: "
        f"{runtime_message(error)}",
        "Provide golden data (spec.validation.golden): inputs that the model accepts. If only the sizes "
        f"are wrong, set them in spec.validation.sizes; the dynamic axes are {axes}.",
    )


def _run_finding(batch: int, message: str, ran_with_less: bool, given: bool, sizes: str) -> Finding:
    if ran_with_less:
        return BATCH.error(
            "graph",
            f"the model runs with one row and fails with {batch}, although its batch axis is dynamic: {message}",
            "A Reshape or constant in the model contains the batch size of the export: use -1 or the "
            "input's shape instead.",
        )
    if given:
        return RUN.error(
            "run", f"the model fails with golden inputs: {message}", "Provide golden inputs that the model accepts."
        )
    at = f", with {sizes}" if sizes else ""
    return RUN.error("run", f"the model fails with inputs generated from its signature{at}: {message}")


def _judge(
    outputs: tuple[Tensor, ...], answers: list[Any], rows: int, sizes: str, *, masks: Masks
) -> Iterator[Finding]:
    """rows: of the batch, 0 for one that is not judged; sizes: of dynamic axes of made inputs, in words."""
    guessed = (
        f"If the model does not accept inputs with {sizes}, set spec.validation.sizes or provide golden data. "
        if sizes
        else ""
    )
    for output, answer in zip(outputs, answers, strict=True):
        if rows and isinstance(answer, np.ndarray) and (answer.ndim == 0 or answer.shape[0] != rows):
            yield BATCH.error(
                output.name,
                f"output {output.name!r} has the shape {list(answer.shape)} for {rows} row{'s' if rows > 1 else ''} of input"
                f"{f', with {sizes}' if sizes else ''}",
                f"{guessed}Every output needs one row for each row of input: check what reduces or reshapes the "
                "first axis. For a model whose first axis is not a batch, set spec.validation.batch: None.",
            )
        if isinstance(answer, np.ndarray) and answer.dtype.kind == "f" and not (finite := np.isfinite(answer)).all():
            message = f"output {output.name!r} contains NaN or infinity for inputs generated from the model's signature"
            meant = (not np.isnan(answer).any() or output.name in masks.nan) and (
                not np.isinf(answer).any() or output.name in masks.infinite
            )
            if meant and finite.any():
                yield RUN.info(
                    output.name, f"{message}, as a constant of the model does", "No action needed if this is intended."
                )
            else:
                yield RUN.warning(
                    output.name,
                    message,
                    "Compare with the original framework; the cause may be a mask or a logarithm of zero.",
                )
