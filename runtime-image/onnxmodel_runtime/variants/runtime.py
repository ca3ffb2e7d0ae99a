"""ONNX Runtime's own optimizer, done once and stored; and its format for edge devices."""

from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.variants import layout, ortfile
from onnxmodel_runtime.variants.task import Skip, Task

# Layout optimizations, which "All" adds to "Extended", are for the very processor that they run on: the blocks of its
# vector units are written into the weights. Offline they would tie the file to one machine and its bytes to the builder.
_MOST_OFFLINE = "Extended"


def offline(request: OptimizeRequest) -> tuple[Providers, str]:
    """Return the providers and the level for offline optimization of the graph."""
    if "TensorRT" in request.providers.names:
        # TensorRT reads standard operators only, and ONNX Runtime cannot store what TensorRT compiled.
        return Providers(threads=request.providers.threads), "Basic"
    return request.providers, _MOST_OFFLINE if request.graph_level == "All" else request.graph_level


def left(request: OptimizeRequest) -> str:
    """Return the level that a session must still ask for."""
    return "None" if offline(request)[1] == request.graph_level else request.graph_level


def optimize(task: Task) -> str:
    """Optimize the graph: constant folding, eliminations, fusions."""
    providers, level = offline(task.request)
    open_session(task.source, providers, level, save_to=task.target, external_data=True)
    return ""


def edge(task: Task) -> str:
    """Write the ORT format, which small builds of ONNX Runtime read, and the list of operators that they need."""
    if task.large:
        raise Skip("the ORT format supports at most 2 GiB: serve fp32, or quantize the model first")
    providers = Providers(threads=task.request.providers.threads)
    open_session(task.source, providers, offline(task.request)[1], save_to=task.target)
    ortfile.sort_operators(task.target)
    lines = ["# what model.ort needs", *ortfile.operators(task.target), ""]
    layout.operators(task.target).write_text("\n".join(lines))
    return ""
