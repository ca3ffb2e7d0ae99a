"""Demands of the platform team on a model, beyond what would work. Pure."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from onnxmodel_operator.api.resource import OnnxModel, SpecError
from onnxmodel_operator.platform.settings import Policy, Requirement


class PolicyError(SpecError):
    """A valid spec that the platform forbids."""


def violations(model: OnnxModel, policy: Policy) -> list[tuple[str, str]]:
    """Return (field, message) of everything that the policy forbids, in the order of the fields.

    Hosts and addresses are not checked here: the fetch checks them, for every redirect and every address that a name
    resolves to.
    """
    return [*_sources(model, policy), *_requirements(model, policy), *_opset(model, policy)]


def _sources(model: OnnxModel, policy: Policy) -> Iterator[tuple[str, str]]:
    allowed = policy.sources.schemes
    for field, uri in model.spec.uris():
        scheme = uri.partition(":")[0]
        if allowed and scheme not in allowed:
            yield field, f"the platform allows {', '.join(allowed)}, not {scheme}"


def pinned(model: OnnxModel, policy: Policy) -> bool:
    """Return whether the policy requires a digest for every file of the model."""
    return any(rule.pin for rule in _asked(model, policy))


def _asked(model: OnnxModel, policy: Policy) -> list[Requirement]:
    return [
        rule for rule in policy.require if any(fnmatchcase(model.namespace, pattern) for pattern in rule.namespaces)
    ]


def _requirements(model: OnnxModel, policy: Policy) -> Iterator[tuple[str, str]]:
    asked = _asked(model, policy)
    if pinned(model, policy) and not model.spec.source.sha256:
        yield "spec.source.sha256", f"the platform requires a pinned digest in namespace {model.namespace}"
    if any(rule.signature for rule in asked) and not model.spec.source.signature:
        yield "spec.source.signature", f"the platform requires a signature in namespace {model.namespace}"


def _opset(model: OnnxModel, policy: Policy) -> Iterator[tuple[str, str]]:
    if model.spec.validation.opset.min < policy.min_opset:
        yield "spec.validation.opset.min", f"the platform requires opset {policy.min_opset} or newer"
