"""Tell what has happened to a model: from two statuses, the Events between them. Pure.

Level-triggered: what has not changed is told by nobody, so an idle model has no Event, and a restart repeats none.
"""

from onnxmodel_operator.api.status import OnnxModelStatus
from onnxmodel_operator.events.stages import of_stages
from onnxmodel_operator.events.standing import of_standing
from onnxmodel_operator.events.takeover import of_takeover
from onnxmodel_operator.events.values import ModelEvent


def between(before: OnnxModelStatus, after: OnnxModelStatus) -> tuple[ModelEvent, ...]:
    """Return the Events between two statuses of one model, in the order of a life: stages, traffic, then how it stands."""
    return (*of_stages(before, after), *of_takeover(before, after), *of_standing(before, after))
