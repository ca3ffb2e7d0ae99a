"""The model repository that Triton reads: the configuration, a link to the model that was proven, rows to warm up with.

    <directory>/<name>/config.pbtxt
    <directory>/<name>/1            -> the folder of the model file, so that its external data lie beside it
    <directory>/<name>/warmup/<n>   one row of input n, as bytes
    <directory>/<name>/labels-<n>.txt  the labels of output n, where the model has some

Nothing is copied, and nothing of the model's folder is changed: Triton mounts both read-only.
"""

import dataclasses
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxmodel_runtime import machine
from onnxmodel_runtime.contract.model import BATCH_NONE, Tensor
from onnxmodel_runtime.contract.providers import GPU_PROVIDERS, Providers
from onnxmodel_runtime.contract.repository import RepositoryRequest, RepositoryResult
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.errors import StageError, runtime_message
from onnxmodel_runtime.models import batch_axis, labels, probefile, ranks
from onnxmodel_runtime.models.artifact import check_digest
from onnxmodel_runtime.models.datatypes import tensors
from onnxmodel_runtime.models.probefile import Arrays
from onnxmodel_runtime.models.session import PROVIDERS, open_session
from onnxmodel_runtime.rows import joining
from onnxmodel_runtime.sandbox.progress import log, step
from onnxmodel_runtime.triton import config as configs
from onnxmodel_runtime.triton.config import WarmUpInput

CONFIG = "config.pbtxt"


def repository(request: RepositoryRequest) -> RepositoryResult:
    """Write the repository, in place of an earlier attempt's. Raises StageError if Triton cannot serve this."""
    serve = request.serve
    step("checking the model's digest")
    check_digest(Path(serve.model), serve.sha256, serve.data_sha256)
    step("reading the model's inputs and outputs from ONNX Runtime")
    session = open_model(Path(serve.model), serve.providers)
    serve = dataclasses.replace(serve, providers=_loadable(serve.providers, session))
    inputs, outputs = described(session)
    _ranked(Path(serve.model), inputs)
    if why := batch_axis.of_session(session, serve.batch):
        log(f"there is no batch axis: {why}")
        serve = dataclasses.replace(serve, batch=BATCH_NONE)
    given = probefile.read(Path(serve.probe))[0] if serve.probe else {}
    serve = dataclasses.replace(serve, unjoined=_unjoined(session, serve, inputs, outputs, given))
    log(f"requests are {'not batched: ' if serve.unjoined else 'batched'}{serve.unjoined}")
    folder = Path(request.directory) / serve.name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "warmup").mkdir(parents=True)
    (folder / configs.VERSION).symlink_to(Path(serve.model).parent, target_is_directory=True)
    label_files = _labels(session, outputs, folder)
    samples = _samples(given, inputs, folder / "warmup") if given else None
    engines = _engines(request, inputs) if request.engines and "TensorRT" in serve.providers.names else ""
    optional = tensors(session.get_overridable_initializers())
    message = configs.build(
        *(serve, inputs, outputs),
        gpus=request.gpus,
        engines=engines,
        samples=samples,
        optional=optional,
        labels=label_files,
    )
    path = folder / CONFIG
    path.write_text(configs.text(message), encoding="utf-8")
    return RepositoryResult(str(path), not serve.unjoined, engines)


def _ranked(path: Path, inputs: tuple[Tensor, ...]) -> None:
    """Raise StageError for an input of any rank: Triton's configuration says how many axes each has."""
    if unknown := sorted(ranks.unranked(path) & {tensor.name for tensor in inputs}):
        raise StageError(
            "UnsupportedShape",
            f"input {unknown[0]!r} declares no shape, but Triton needs its number of axes",
            "Export the model with the input's shape, or use the runtime onnxruntime, which accepts any.",
        )


def open_model(path: Path, providers: Providers) -> Any:
    """Return a session of the served file, to read its interface. It compiles nothing: CUDA stands in for TensorRT."""
    kept = ("CUDA" if name == "TensorRT" else name for name in providers.names if name in PROVIDERS and name != "CPU")
    names = tuple(dict.fromkeys(kept))
    wanted = Providers((*names, "CPU"), "Allow", threads=providers.threads)
    try:
        return open_session(path, wanted, "None").session
    except StageError:
        raise
    except Exception as error:
        raise StageError(
            "LoadFailed",
            f"ONNX Runtime cannot load {path}: {runtime_message(error)}",
            "Validate the model with the image that serves it: its ONNX Runtime reports what it cannot load.",
        ) from error


def _loadable(providers: Providers, session: Any) -> Providers:
    """Drop providers of a GPU that is absent, where another provider may serve: Triton would exit."""
    if providers.fallback == "Forbid" or PROVIDERS["CUDA"] in session.get_providers():
        return providers
    left = tuple(name for name in providers.names if name not in GPU_PROVIDERS)
    if not left or left == providers.names:
        return providers
    log(f"no GPU is available here: {left[0]} serves")
    return dataclasses.replace(providers, names=left)


def described(session: Any) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return inputs and outputs as ONNX Runtime describes them, and as Triton compares them with the configuration.

    The declarations in the file are not enough: ONNX Runtime infers more of an output's shape than some exporters
    declare.
    """
    return tensors(session.get_inputs()), tensors(session.get_outputs())


def _unjoined(
    session: Any, serve: ServeRequest, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], given: Arrays
) -> str:
    """Return why Triton does not batch requests, by the rule of the ONNX Runtime server."""
    step("checking whether rows of one batch influence each other")
    most = serve.max_batch_size if batch_axis.declared(inputs, outputs, serve.batch) else 0
    names = [tensor.name for tensor in outputs]

    def run(joined: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, joined), strict=True))

    return joining.unjoined(serve, most).why or joining.tried(serve, run, given, most).why


def _samples(given: Arrays, inputs: tuple[Tensor, ...], folder: Path) -> dict[str, WarmUpInput] | None:
    """One row of each input into the folder; None where the probe has not all of them."""
    if missing := [tensor.name for tensor in inputs if tensor.name not in given]:
        log(f"no warm-up: the probe has no input {missing[0]!r}")
        return None
    samples = {}
    for number, tensor in enumerate(inputs):  # names of tensors are no names of files
        array = given[tensor.name]
        (folder / str(number)).write_bytes(_bytes(array))
        samples[tensor.name] = WarmUpInput(tuple(array.shape), str(number))
    return samples


def _labels(session: Any, outputs: tuple[Tensor, ...], folder: Path) -> dict[str, str]:
    """Write the labels of the model's metadata, one on each line. The files, by output."""
    told = session.get_modelmeta().custom_metadata_map.get("labels", "{}")
    try:
        known = labels.read(told)
    except (ValueError, RecursionError) as error:
        log(f"the model's metadata property 'labels' is not used: {error}")
        return {}
    files = {}
    for number, tensor in enumerate(outputs):
        if tensor.name in known:
            files[tensor.name] = f"labels-{number}.txt"
            lines = [" ".join(label.split()) for label in known[tensor.name]]
            (folder / files[tensor.name]).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files


def _bytes(array: NDArray[Any]) -> bytes:
    if array.dtype.kind != "O":
        return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    words = [str(word).encode() for word in array.ravel()]
    return b"".join(struct.pack("<I", len(word)) + word for word in words)


def _engines(request: RepositoryRequest, inputs: tuple[Tensor, ...]) -> str:
    """The folder of TensorRT's engines for exactly this model on exactly this GPU, made here: Triton makes none."""
    gpu = max(machine.gpus(), default="")
    folder = Path(request.engines) / configs.engine_key(request.serve, inputs, request.image, gpu)
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
