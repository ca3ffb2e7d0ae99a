"""Joins what a pool and a model say of the model's pods. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxmodel_operator.api.spec.pod import Pod
from onnxmodel_operator.api.spec.source import Source
from onnxmodel_operator.platform.settings import Pool


@dataclass(frozen=True, slots=True)
class SourceTraits:
    """Account and variables of a pod that fetches. "" and none where nothing was said."""

    service_account_name: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


_HARMLESS = {"AWS_REGION", "AWS_DEFAULT_REGION"}


def source_traits(pool: Pool, source: Source) -> SourceTraits:
    """Join what the pool and the model say of a fetch. The model wins, variable by variable.

    The pool's account is for models that bring neither a Secret nor variables of their own: with an endpoint, a proxy
    or a certificate authority, the model's author could have the account's token sent to a server of theirs.
    """
    own = source.secret_ref is not None or set(source.env) - _HARMLESS
    account = source.service_account_name or ("" if own else pool.source.service_account_name)
    return SourceTraits(account, {**pool.source.env, **source.env})


_QUEUE = "kueue.x-k8s.io/"


@dataclass(frozen=True, slots=True)
class Traits:
    """Wishes for a model's pods besides where they run and what they need. Empty where nothing was said.

    labels: of pods. queue: labels that a queue reads on a Job. spread: topology spread constraints, without selector.
    priority_class_name: the model's own; the pool's is the pool's.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    service_account_name: str = ""
    priority_class_name: str = ""
    pull_secrets: tuple[str, ...] = ()
    spread: tuple[Mapping[str, Any], ...] = ()
    queue: Mapping[str, str] = field(default_factory=dict)


def traits(pool: Pool, model: Pod) -> Traits:
    """Join what the pool and the model say. The model wins, key by key; pull secrets add up."""
    labels = {**pool.labels, **model.labels}
    spread = model.topology_spread_constraints
    constraints = pool.topology_spread_constraints if spread is None else spread
    secrets = [secret.name for secret in (*pool.image_pull_secrets, *model.image_pull_secrets)]
    return Traits(
        labels={key: value for key, value in labels.items() if not key.startswith(_QUEUE)},
        annotations={**pool.annotations, **model.annotations},
        service_account_name=model.service_account_name or pool.service_account_name,
        priority_class_name=model.priority_class_name or "",
        pull_secrets=tuple(dict.fromkeys(secrets)),
        spread=tuple(item.model_dump(by_alias=True, exclude_none=True) for item in constraints),
        queue={key: value for key, value in labels.items() if key.startswith(_QUEUE)},
    )
