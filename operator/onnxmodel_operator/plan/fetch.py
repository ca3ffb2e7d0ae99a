"""The files that a stage's Job fetches before the stage runs."""

from dataclasses import replace
from typing import Any

from onnxmodel_operator.plan import digests
from onnxmodel_operator.plan.values import Context
from onnxmodel_operator.platform.settings import Sources
from onnxmodel_runtime.contract.fetch import FetchRequest, SourcePolicy
from onnxmodel_runtime.contract.volume import ARTIFACTS


def fetch(context: Context, folder: str, **asked: Any) -> FetchRequest:
    """Build a fetch under the platform's rules, into a folder that is named after the fetch, its Secret and variables."""
    rules, ref = context.settings.policy, context.model.spec.source.secret_ref
    request = FetchRequest(directory="", policy=_policy(rules.sources), max_bytes=rules.max_model_bytes, **asked)
    digest = digests.of_source(request, ref.name if ref else "", context.model.spec.source.env)
    return replace(request, directory=f"{ARTIFACTS}/{folder}/{digest[:16]}")


def _policy(sources: Sources) -> SourcePolicy:
    networks = tuple(str(network) for network in sources.networks)
    return SourcePolicy(sources.schemes, sources.hosts, sources.private_networks, networks)
