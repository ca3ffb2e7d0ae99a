"""Define spec.serving.autoscaling: between which bounds an autoscaler sets the replicas, and at which load."""

from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from onnxmodel_operator.api.base import ApiObject, cel

_BOUNDS_FIT = "self.minReplicas <= self.maxReplicas"
_BOUNDS_FIT_MESSAGE = "minReplicas must not exceed maxReplicas"


class Autoscaling(ApiObject):
    """Replicas by load: the platform's autoscaler sets serving.replicas. Needs settings.autoscaling of the platform."""

    model_config = ConfigDict(json_schema_extra=cel((_BOUNDS_FIT, _BOUNDS_FIT_MESSAGE, ".minReplicas")))
    min_replicas: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=1, description="0: without requests nothing runs, and the first request waits for a server to start."
    )
    max_replicas: Annotated[int, Field(ge=1, le=1000)]
    target_capacity_percent: Annotated[int, Field(ge=1, le=100)] = Field(
        default=80,
        description="Load of each replica, in percent of the rows per second that the load test measured within the "
        "constraints of spec.benchmark.",
    )
    scale_down_after_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=300, description="Time for which fewer replicas must have been enough before there are fewer."
    )

    @model_validator(mode="after")
    def _bounds_fit(self) -> "Autoscaling":
        if self.min_replicas > self.max_replicas:
            raise ValueError(_BOUNDS_FIT_MESSAGE)
        return self
