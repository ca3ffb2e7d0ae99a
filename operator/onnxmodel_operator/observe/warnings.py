"""Explain what waits by its warning events, where its own status gives no reason."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from onnxmodel_operator.observe.values import AS_JOBS, SETTINGS, Observed, Waiting, Warned


def puzzles(seen: Observed, now: datetime) -> set[str]:
    """Return the uids of objects whose events must be read, because nothing else explains why something waits."""
    waits = [job.waiting for job in seen.jobs.values()] + [item.waiting for item in seen.revisions.values()]
    return {w.about for w in waits if w and w.about and now - (w.since or now) >= timedelta(seconds=w.normal_seconds)}


def explained(seen: Observed, warnings: Mapping[str, Iterable[Warned]], now: datetime) -> Observed:
    """Add the reasons that the events give. warnings: by uid, newest first."""
    if not warnings:
        return seen

    def told(waiting: Waiting | None) -> Waiting | None:
        if waiting is None or waiting.about not in warnings:
            return waiting
        newest = next(iter(warnings[waiting.about]), None)
        if waiting.silent and not (newest and newest.time and now - newest.time <= _RECENT):
            return None
        if newest is None:
            return waiting
        message = f"{waiting.failure.message}: {newest.message}"[:1024]
        hint = hint_for(newest.message) or waiting.failure.hint
        return replace(waiting, failure=replace(waiting.failure, message=message, hint=hint))

    return replace(
        seen,
        jobs={key: replace(job, waiting=told(job.waiting)) for key, job in seen.jobs.items()},
        revisions={key: replace(item, waiting=told(item.waiting)) for key, item in seen.revisions.items()},
    )


_RECENT = timedelta(minutes=5)
"""Age beyond which a warning is outdated: kubelet repeats a warning while its cause lasts."""
_JOBS = " and ".join((", ".join(AS_JOBS[:-1]), AS_JOBS[-1]))
_HINTS = (
    ("exceeded quota", f"Raise the ResourceQuota in the message, free some of it, or lower serving.resources ({_JOBS}: "
     f"jobs.resources {SETTINGS}). It then continues by itself."),
    (" per Container", "Set serving.resources within the namespace's LimitRange (kubectl describe limitrange); "
     f"{_JOBS} use jobs.resources {SETTINGS}."),
    ("violates PodSecurity", "Pods of models comply with the restricted Pod Security Standard, so a webhook must have "
     "changed this one: compare the fields in the message with the pod template of the Job or "
     "Deployment."),
    ("admission webhook", "Change what the webhook rejects, or ask its owner to allow these pods."),
    ("PriorityClass", "Create the PriorityClass, or correct spec.serving.pod.priorityClassName or "
     f"pools.*.priorityClassName {SETTINGS}."),
    ("RuntimeClass", f"Create the RuntimeClass, or correct pools.*.runtimeClassName {SETTINGS}."),
    ("service account", "Create the ServiceAccount in the namespace (the usual one by kubectl create serviceaccount "
     "default), or correct spec.source.serviceAccountName, spec.serving.pod.serviceAccountName or "
     f"pools.*.serviceAccountName {SETTINGS}."),
    ("storageclass", f"Create the StorageClass; or correct artifacts.storageClassName {SETTINGS}, then delete the "
     "model and apply it again."),
    ("Multi-Attach", "Wait until the pods on the other node are gone: the volume is ReadWriteOnce. For new models, "
     f"artifacts.accessMode: ReadWriteMany {SETTINGS} allows several nodes."),
)  # fmt: skip
"""By words of Kubernetes' own sentences. Where they change, the general hint stands, and the sentence is there anyway."""


def hint_for(sentence: str) -> str:
    """Return the hint for a message of Kubernetes. "" if no hint matches."""
    return next((hint for words, hint in _HINTS if words in sentence), "")
