"""Orders of people to a rollout and to the measuring stages: which are new, and which have been followed."""

from onnxmodel_operator.api.status import HandledStatus
from onnxmodel_operator.plan.values import Context

_ORDERS = ("promote", "abort", "retry", "measure")


def is_new(context: Context, order: str) -> bool:
    """Return whether an order was given that has not been followed yet: promote, abort or retry."""
    given, handled = getattr(context.model.orders, order), context.seen.memory.rollout.handled
    return bool(given) and given != (getattr(handled, order) if handled else None)


def to_measure(context: Context) -> str:
    """Return the last order to measure again, "" if there was none.

    It is part of what the measurements answer, so each value of it measures once, and a lost turn loses no order. One
    that is taken back from the model stays: nothing is measured because an annotation is gone.
    """
    followed = context.seen.memory.rollout.handled
    return context.model.orders.measure or (followed.measure if followed else None) or ""


def handled(context: Context, *, but: str = "") -> HandledStatus:
    """Return what status shall remember: every order that is given, since one that found nothing to do is over too.

    but: an order that has to wait.
    """
    before = context.seen.memory.rollout.handled or HandledStatus()
    given = {name: getattr(context.model.orders, name) or getattr(before, name) for name in _ORDERS if name != but}
    if but:
        given[but] = getattr(before, but)
    return HandledStatus(**given)
