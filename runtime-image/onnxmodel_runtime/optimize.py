"""Make the variants of a model and prove each against the original.

The reference is the original without any graph optimization, on the CPU: neither an optimizer's defect nor a GPU's can
hide in it. Everything else runs on the first provider that was asked for.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort

from onnxmodel_runtime import graph, parity, probefile
from onnxmodel_runtime.contract import MODEL_FILE, PROBE_FILE, OptimizeRequest, OptimizeResult, Providers, Variant
from onnxmodel_runtime.digests import check_digest, digest
from onnxmodel_runtime.errors import StageError, runtime_message
from onnxmodel_runtime.inputs import Arrays, Signature, generate, signature
from onnxmodel_runtime.progress import log, step
from onnxmodel_runtime.session import Loaded, open_session

ORIGINAL = "original"
# Layout optimizations, which "All" adds to "Extended", are for the very processor that they run on: the blocks of its
# vector units are written into the weights. Offline they would tie the file to one machine and its bytes to the builder.
_MOST_OFFLINE = "Extended"
_EXTERNAL_ABOVE = 1 << 30  # protobuf ends at 2 GiB, and folding constants makes a model larger


def optimize(request: OptimizeRequest) -> OptimizeResult:
    """The candidates, the original first. Raises StageError when not even that answers as it should."""
    path, directory = Path(request.model), Path(request.directory)
    step("reading the model")
    check_digest(path, request.sha256)
    model = onnx.load_model(path, load_external_data=False)
    signed = signature(model)
    sizes = signed.batch_sizes(request.batch_sizes)
    # Random operators of two sessions in one process draw equal numbers, and other ones in the server's process.
    ort.set_seed(1)
    reference = _reference(path, request.providers, signed, (signed.batch_sizes((1,))[0], *sizes))
    directory.mkdir(parents=True, exist_ok=True)
    probe = directory / PROBE_FILE
    first = signed.batch_sizes((1,))[0]
    probefile.write(probe, generate(signed, first), reference[first])

    ort.set_seed(2)
    loaded = _load(path, request.providers, request.graph_level)
    _prove_original(loaded, request, signed, reference, sizes)
    total = path.stat().st_size + sum(file.stat().st_size for file in graph.external_files(model, path.parent))
    variants = [
        Variant(ORIGINAL, str(path), digest(path), total, len(model.graph.node), request.graph_level),
    ]
    use = loaded.use
    del loaded  # one session at a time: the original's memory makes room for a variant's
    for name in request.variants:
        variant = _variant(name, request, total)
        if variant.path:
            answers = _runner(_load(Path(variant.path), request.providers, variant.graph_level), signed)
            step(f"comparing {name} with the original")
            measured = parity.measure(answers, reference.__getitem__, sizes, request.tolerance)
            variant = replace(variant, parity=measured)
            if not measured.passed:
                log(f"{name}: {parity.explain(measured, request.tolerance)}")
        variants.append(variant)
    return OptimizeResult(tuple(variants), str(probe), use)


def _reference(path: Path, providers: Providers, signed: Signature, sizes: tuple[int, ...]) -> dict[int, Arrays]:
    step("running the original without optimizations on the CPU")
    try:
        loaded = open_session(path, Providers(threads=providers.threads), "None")
    except StageError:
        raise
    except Exception as error:
        if "CPU" in providers.names[:1]:
            raise _unloadable(path, error) from error
        log(f"the CPU cannot run the model ({runtime_message(error)}): {providers.names[0]} is its own reference")
        loaded = _load(path, providers, "None")
    answers = _runner(loaded, signed)
    return {size: answers(size) for size in dict.fromkeys(sizes)}


def _prove_original(
    loaded: Loaded, request: OptimizeRequest, signed: Signature, reference: dict[int, Arrays], sizes: tuple[int, ...]
) -> None:
    step(f"comparing the original on {loaded.use.name} with the reference")
    measured = parity.measure(_runner(loaded, signed), reference.__getitem__, sizes, request.tolerance)
    if not measured.passed:
        raise StageError(
            "ProviderDisagrees",
            f"the original itself, on {loaded.use.name} with graph level {request.graph_level}, does not answer as it "
            f"does without optimizations on the CPU: {parity.explain(measured, request.tolerance)}",
            "If the model draws random numbers, export it in evaluation mode. Else lower spec.optimization.graphLevel, "
            "use another execution provider, or loosen spec.optimization.parity.",
            "spec.optimization.parity",
        )


def _variant(name: str, request: OptimizeRequest, total: int) -> Variant:
    """Make one variant; what cannot be made says why."""
    passes: dict[str, Callable[[OptimizeRequest, Path, int], str]] = {"fp32": _fp32}
    if name not in passes:
        return Variant(name, skipped=f"this image cannot make it; it makes {', '.join(passes)}")
    step(f"making {name}")
    target = Path(request.directory) / name
    with tempfile.TemporaryDirectory(dir=request.directory, prefix=f".{name}-") as work:
        made = Path(work) / MODEL_FILE
        try:
            level = passes[name](request, made, total)
        except StageError:
            raise
        except Exception as error:
            return Variant(name, skipped=runtime_message(error))
        target.mkdir(exist_ok=True)
        files = sorted(Path(work).iterdir(), key=lambda file: file.name == MODEL_FILE)  # the model after its data
        for file in files:
            file.chmod(0o644)
            file.replace(target / file.name)
    path = target / MODEL_FILE
    return Variant(
        name,
        str(path),
        digest(path),
        sum((target / file.name).stat().st_size for file in files),
        len(onnx.load_model(path, load_external_data=False).graph.node),
        level,
    )


def _fp32(request: OptimizeRequest, target: Path, total: int) -> str:
    """ONNX Runtime's graph optimization, done once and stored. Returns the level that is left for the session."""
    wanted = request.graph_level
    if wanted == "None":
        raise ValueError("spec.optimization.graphLevel is None, which asks for no graph optimization")
    providers, level = request.providers, _MOST_OFFLINE if wanted == "All" else wanted
    if "TensorRT" in providers.names:
        # TensorRT reads standard operators only, and ONNX Runtime cannot store what TensorRT compiled.
        providers, level = Providers(threads=providers.threads), "Basic"
    open_session(Path(request.model), providers, level, save_to=target, external_data=total > _EXTERNAL_ABOVE)
    return "None" if level == wanted else wanted


def _load(path: Path, providers: Providers, level: str) -> Loaded:
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
        "Validate the model (onnxmodel validate): it names what this ONNX Runtime cannot run.",
    )


def _runner(loaded: Loaded, signed: Signature) -> Callable[[int], Arrays]:
    return partial(_run, loaded.session, signed)


def _run(session: Any, signed: Signature, batch: int) -> Arrays:
    step(f"running the model at batch size {batch}")
    try:
        answers = session.run(None, generate(signed, batch))
    except StageError:
        raise
    except Exception as error:
        raise StageError(
            "InferenceFailed",
            f"the model fails at batch size {batch}: {runtime_message(error)}",
            "The message names the node. If only some batch sizes fail, the batch axis is fixed inside of the model.",
        ) from error
    return dict(zip((value.name for value in session.get_outputs()), answers, strict=True))
