"""The process of one variant: `python -m onnxmodel_runtime.variants PIPE`, started by sandbox/parent.py for apart.py."""

from onnxmodel_runtime.contract.optimize import Variant
from onnxmodel_runtime.sandbox import child
from onnxmodel_runtime.variants import VariantRequest


def work(request: VariantRequest) -> Variant:
    """Make the variant."""
    from onnxmodel_runtime.variants.make import make  # heavy: the limits come first

    return make(request)


child.main(VariantRequest, work, lambda request: request.providers.names)
