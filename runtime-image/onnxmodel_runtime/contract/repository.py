"""Repository: lay out a model repository for Triton, in an init container of its pod."""

from dataclasses import dataclass

from onnxmodel_runtime.contract.identity import Identity, Incidental
from onnxmodel_runtime.contract.serve import ServeRequest


@dataclass(frozen=True, slots=True)
class RepositoryRequest:
    """Lay out a model repository for Triton in `directory`, so that it serves as `serve` says.

    gpus: GPUs of Triton's container.
    image: Triton's image, whose libraries build the engines that TensorRT caches below `engines`; "" for no cache.
    """

    serve: Identity[ServeRequest]
    directory: Incidental[str]
    gpus: Incidental[int] = 0
    image: Incidental[str] = ""
    engines: Incidental[str] = ""


@dataclass(frozen=True, slots=True)
class RepositoryResult:
    """A model repository.

    config: path of the configuration. joins: whether Triton batches requests. engines: the engine cache in use.
    """

    config: str
    joins: bool
    engines: str = ""
