"""Newer runtime images of the platform: a proven model keeps the images that it was proven with until the policy says so.

A changed image changes the digest of every stage. Without this, one upgrade of the chart would prove and roll the whole
fleet at once.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from onnxmodel_operator.api.status import ImagesStatus, UpgradeStatus
from onnxmodel_operator.plan.values import Context
from onnxmodel_operator.platform.resolve import Resolved
from onnxmodel_operator.platform.settings import MaintenanceWindow

LOOK_SECONDS = 60.0
"""Seconds after which a model that waits for its turn looks again."""
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NAMED = 3


def images_of(platform: Resolved) -> ImagesStatus:
    """Return the images that a model is proven with on this platform."""
    return ImagesStatus(
        validator=platform.validator.image, server=platform.server.image, triton=platform.triton or None
    )


def held(context: Context) -> tuple[Context, UpgradeStatus] | None:
    """Return the context with the images of the active revision, and the reason why it keeps them.

    None if these are the platform's, or the model may move to those now.
    """
    images, why = _older(context), _why(context)
    if images is None or why is None:
        return None
    return replace(context, platform=_with(context.platform, images)), UpgradeStatus(
        state="Waiting", message=why[:2048]
    )


def is_current(context: Context) -> bool:
    """Return whether the spec asks for the active revision, or for the one that status has as its target.

    That may be refused, or half rolled out: a newer image alone is no reason to begin once more.
    """
    target = context.seen.memory.target
    known = {context.active, target.revision if target else None}
    return context.revision is not None and context.revision.short in known


def running(context: Context) -> UpgradeStatus | None:
    """Return that the model is proven with newer images than the active revision's, or None."""
    if _older(context) is None:
        return None
    return UpgradeStatus(state="Running", message=f"it is proven with {_shown(context.platform)}"[:2048])


def again(context: Context) -> float | None:
    """Return the seconds after which a model that waits looks whether it may move. None: it waits for its spec."""
    return None if context.settings.upgrades.policy == "OnChange" else LOOK_SECONDS


def _older(context: Context) -> ImagesStatus | None:
    """The images of the active revision where the spec would be proven with others now: another runtime is none."""
    active = context.seen.memory.active
    images = active.images if active and active.revision == context.active else None
    return None if images is None or _with(context.platform, images) == context.platform else images


def _with(platform: Resolved, images: ImagesStatus) -> Resolved:
    return replace(
        platform,
        server=replace(platform.server, image=images.server),
        client=replace(platform.client, image=images.server),
        validator=replace(platform.validator, image=images.validator),
        triton=(images.triton or platform.triton) if platform.triton else "",
    )


def _why(context: Context) -> str | None:
    """The reason why the model keeps its images for now. None if it need not."""
    rules, before, others = context.settings.upgrades, context.seen.memory.upgrade, context.seen.upgrading
    newer = f"the platform has {_shown(context.platform)}; the model moves to it"
    if rules.policy == "OnChange":
        return f"{newer} with the next change of its spec (settings.upgrades.policy)"
    if before is not None and before.state == "Running":
        return None
    if rules.policy == "Window" and not _is_open(rules.window, context.now):
        return f"{newer} in the maintenance window (settings.upgrades.window)"
    if len(others) >= rules.max_concurrent:
        return f"{newer} after {_names(others)} (settings.upgrades.maxConcurrent)"
    return None


def _is_open(window: MaintenanceWindow, now: datetime) -> bool:
    """Return whether the time is within the window, which may have begun the day before."""
    hour, minute = map(int, window.start.split(":"))
    for day in (now, now - timedelta(days=1)):
        begins = day.replace(hour=hour, minute=minute, second=0, microsecond=0)
        named = not window.days or _DAYS[begins.weekday()] in window.days
        if named and begins <= now < begins + timedelta(hours=window.hours):
            return True
    return False


def _shown(platform: Resolved) -> str:
    return " and ".join(filter(None, (platform.server.image, platform.triton)))


def _names(others: Sequence[str]) -> str:
    more = len(others) - _NAMED
    return ", ".join(others[:_NAMED]) + (f" and {more} more" if more > 0 else "")
