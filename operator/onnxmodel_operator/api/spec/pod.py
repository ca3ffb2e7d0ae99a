"""Define spec.serving.pod: what other parts of a platform read on a model's pods."""

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from onnxmodel_operator.api.base import ApiObject, Name, cel
from onnxmodel_operator.api.patterns import EXPECTED, LABEL_KEY, LABEL_VALUE
from onnxmodel_operator.api.spec.source import SecretReference

RESERVED = (
    r"^(([^/]*[.])?onnx-operator[.]dev/.*|batch[.]kubernetes[.]io/.*|app[.]kubernetes[.]io/managed-by|job-name"
    r"|controller-uid|pod-template-hash|[^/]*/skip-containers|azure[.]workload[.]identity/.*|(container[.])?(apparmor|seccomp)[.]security[.](beta|alpha)[.]kubernetes[.]io/.*)$"
)
"""Keys of labels and annotations that select the operator's and Kubernetes' own objects, or that would relax the security
profile of a container.
"""
_RESERVED_MESSAGE = "belongs to the operator, to Kubernetes, or to the restricted Pod Security Standard"

Key = Annotated[str, StringConstraints(min_length=1, max_length=317, pattern=LABEL_KEY)]
Labels = Annotated[
    dict[Key, Annotated[str, StringConstraints(max_length=63, pattern=LABEL_VALUE)]], Field(max_length=32)
]
Annotations = Annotated[dict[Key, Annotated[str, StringConstraints(max_length=4096)]], Field(max_length=32)]


def reserved(keys: Iterable[str]) -> str:
    """Return a sentence about the first key that a pod cannot have. "" if there is none."""
    return next((f"{key} {_RESERVED_MESSAGE}" for key in sorted(keys) if re.match(RESERVED, key)), "")


_MIN_DOMAINS = "!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'"
_MIN_DOMAINS_MESSAGE = "minDomains needs whenUnsatisfiable: DoNotSchedule"


class TopologySpread(ApiObject):
    """Spread the replicas of a revision over zones or nodes. Their labels are its selector."""

    model_config = ConfigDict(json_schema_extra=cel((_MIN_DOMAINS, _MIN_DOMAINS_MESSAGE, ".minDomains")))
    max_skew: Annotated[int, Field(ge=1, le=1000)] = 1
    topology_key: Key
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    min_domains: Annotated[int, Field(ge=1, le=1000)] | None = None
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    node_taints_policy: Literal["Honor", "Ignore"] | None = None

    @model_validator(mode="after")
    def _domains_are_required(self) -> "TopologySpread":
        if self.min_domains is not None and self.when_unsatisfiable != "DoNotSchedule":
            raise ValueError(_MIN_DOMAINS_MESSAGE)
        return self


def _free(field: str) -> tuple[str, str, str]:
    rule = f"!has(self.{field}) || self.{field}.all(key, !key.matches('{RESERVED}'))"
    return rule, f"a key of {field} {_RESERVED_MESSAGE}", f".{field}"


def _named(field: str) -> tuple[str, str, str]:
    rule = f"!has(self.{field}) || self.{field}.all(key, key.matches('{LABEL_KEY}'))"
    return rule, f"{field}: {EXPECTED[LABEL_KEY]}", f".{field}"


class Pod(ApiObject):
    """Fields of the model's pods, in addition to the pool's."""

    model_config = ConfigDict(
        json_schema_extra=cel(*(rule(field) for field in ("labels", "annotations") for rule in (_named, _free)))
    )
    labels: Labels = Field(
        default={},
        description="Labels of the pods of servers and Jobs; they win over the pool's. Those of Kueue "
        "(kueue.x-k8s.io/…) go to the Jobs themselves.",
    )
    annotations: Annotations = Field(
        default={}, description="Annotations of the pods of servers and Jobs; they win over the pool's."
    )
    service_account_name: Name | None = Field(
        default=None,
        description="ServiceAccount of the pods of servers and Jobs, instead of the pool's. No API token is mounted. "
        "Its pods parse the model: it must not be one with access to a cloud.",
    )
    priority_class_name: Name | None = Field(default=None, description="PriorityClass of the pods, not the pool's.")
    image_pull_secrets: Annotated[list[SecretReference], Field(max_length=16)] = Field(
        default=[], description="Secrets for pulling images, in addition to the platform's and the pool's."
    )
    topology_spread_constraints: Annotated[list[TopologySpread], Field(max_length=8)] | None = Field(
        default=None, description="How the replicas of a revision are spread, instead of the pool's constraints."
    )

    @model_validator(mode="after")
    def _keys_are_free(self) -> "Pod":
        for field in ("labels", "annotations"):
            if wrong := reserved(getattr(self, field)):
                raise ValueError(f"{field}: {wrong}")
        return self
