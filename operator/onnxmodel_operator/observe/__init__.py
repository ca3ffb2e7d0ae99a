"""Read the cluster's objects of one model: Jobs, Deployments and pods in, facts out. No I/O, no decisions."""

from onnxmodel_operator import names
from onnxmodel_operator.observe.children import read_job, read_revision
from onnxmodel_operator.observe.memory import read
from onnxmodel_operator.observe.objects import Object, annotation, by_label, by_owner, is_deleting, is_owned, label
from onnxmodel_operator.observe.routes import read_route
from onnxmodel_operator.observe.scalers import read_scaler
from onnxmodel_operator.observe.values import (
    MEASURING,
    WORKING,
    Ended,
    JobSeen,
    Observed,
    RevisionSeen,
    RouteSeen,
    ScalerSeen,
    Snapshot,
    Waiting,
    Warned,
)
from onnxmodel_operator.observe.waiting import is_idle, reports, works_on_a_node
from onnxmodel_operator.observe.warnings import explained, puzzles

__all__ = [
    "MEASURING",
    "WORKING",
    "Ended",
    "JobSeen",
    "Observed",
    "RevisionSeen",
    "RouteSeen",
    "ScalerSeen",
    "Snapshot",
    "Waiting",
    "Warned",
    "explained",
    "observe",
    "puzzles",
    "reports",
    "works_on_a_node",
]


def observe(snapshot: Snapshot) -> Observed:
    """Read the snapshot of one model.

    Ignores children of an earlier model of the same name that the garbage collector has not removed yet.
    """
    pods_of = by_owner(snapshot.pods)
    staying = [pod for pod in snapshot.pods if not is_deleting(pod)]
    pods_at = by_label(staying, names.LABEL_REVISION)
    uid = snapshot.model["metadata"]["uid"] if snapshot.model else ""
    status = (snapshot.model or {}).get("status") or {}
    children = {
        kind: [item for item in items if is_owned(item, uid)]
        for kind, items in (
            ("Job", snapshot.jobs),
            ("Deployment", snapshot.deployments),
            ("Service", snapshot.services),
            ("PersistentVolumeClaim", snapshot.claims),
            ("ControllerRevision", snapshot.records),
            ("PodDisruptionBudget", snapshot.budgets),
            ("ScaledObject", snapshot.scaled_objects),
            ("HorizontalPodAutoscaler", snapshot.autoscalers),
        )
    }
    owned = [item for item in snapshot.routes if is_owned(item, uid)]
    routes = {item["kind"]: read_route(item) for item in owned if not is_deleting(item)}
    jobs = [
        read_job(job, pods_of.get(job["metadata"]["uid"], []), snapshot)
        for job in children["Job"]
        if not is_deleting(job)
    ]
    revisions = [
        read_revision(item, pods_at.get(label(item, names.LABEL_REVISION), []), snapshot.claims)
        for item in children["Deployment"]
        if not is_deleting(item)
    ]
    claims = [claim for claim in children["PersistentVolumeClaim"] if not is_deleting(claim)]
    records = [
        item for item in children["ControllerRevision"] if not is_deleting(item) and _has_its_artifacts(item, claims)
    ]
    service = next((item for item in children["Service"] if _routes(item)), None)
    selected = service["spec"].get("selector", {}).get(names.LABEL_REVISION) if service else None
    return Observed(
        claim_uid=claims[0]["metadata"]["uid"] if claims else None,
        claim_leaves=bool(children["PersistentVolumeClaim"]) and not claims,
        jobs={(job.stage, job.digest): job for job in jobs},
        revisions={revision.revision: revision for revision in revisions},
        records={label(item, names.LABEL_REVISION): item["data"] for item in records},
        made_with={
            label(item, names.LABEL_REVISION): settings
            for item in records
            if (settings := annotation(item, names.ANNOTATION_POD_SETTINGS))
        },
        routed=selected or (annotation(service, names.ANNOTATION_STABLE) or None if service else None),
        upgrading=snapshot.upgrading,
        divided=(service is not None and selected is None) or any(route.canary for route in routes.values()),
        routes=routes,
        live={(kind, item["metadata"]["name"]): item for kind, items in children.items() for item in items}
        | {(item["kind"], item["metadata"]["name"]): item for item in owned},
        memory=read(status, uid),
        stuck=any(label(pod, names.LABEL_STAGE) not in MEASURING and is_idle(pod) for pod in snapshot.busy),
        metrics=snapshot.metrics,
        answered=snapshot.answered,
        missing=snapshot.missing,
        scaler=read_scaler(snapshot, uid),
    )


def _has_its_artifacts(record: Object, claims: list[Object]) -> bool:
    """Return whether the revision's artifacts are in a remote store, or on the model's volume and not on one of before."""
    place = annotation(record, names.ANNOTATION_CLAIM)
    return names.is_remote_place(place) or bool(claims and place == claims[0]["metadata"]["uid"])


def _routes(service: Object) -> bool:
    """Return whether clients use the Service: it has the model's name.

    The Service of a load test has the revision's.
    """
    return bool(service["metadata"]["name"] == label(service, names.LABEL_MODEL))
