"""Make the Deployment of a revision, for either runtime, and the record to restore it from."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from onnxmodel_operator import names
from onnxmodel_operator.memo import Named
from onnxmodel_operator.plan.values import STARTUP_SECONDS, Revision
from onnxmodel_operator.platform.settings import Settings
from onnxmodel_operator.render.identity import REFUSES_IDENTITY
from onnxmodel_operator.render.parts import (
    REMEMBERED,
    Manifest,
    Owner,
    as_argument,
    claim_name,
    labels_of,
    metadata,
    scheduling,
    stamped,
    without_identity,
)
from onnxmodel_operator.render.store import of_server
from onnxmodel_operator.render.templates import read_script, render_template
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.volume import ARTIFACTS, ENGINE_CACHE_FOLDER

_GRACE_SECONDS = 45  # preStop's 5, the server's 20 for what is in flight, 2 to tell the rest, and room
_EXIT_SECONDS = 20
# Triton cannot ask its clients to leave. Those of gRPC connect anew when their connection has this age; HTTP has no such
# thing. So the pod stays until nobody has asked for a while.
_GRPC_AGE_SECONDS = 15
_LEAST_SECONDS = 22  # 5 for endpoints, the age, and a tenth more: gRPC spreads it by so much
_QUIET_SECONDS = 5
_MOST_SECONDS = 600
_MODELS = "/models"
_RESTRICTED = "shared-memory,trace,logging"


@lru_cache(maxsize=REMEMBERED)
def server_manifests(owner: Owner, of: Named[tuple[str, Revision, Settings]]) -> tuple[Manifest, Manifest]:
    """Make the record of a revision and its Deployment. The record comes first, so that everything that serves has one."""
    runtime, revision, settings = of.parts
    deployment = revision.recorded or _deployment(owner, runtime, revision, settings)
    record = _record(owner, revision, deployment)
    return stamped(record), stamped(scaled(deployment, revision.replicas))


def scaled(deployment: Mapping[str, Any], replicas: int) -> Manifest:
    """Return the Deployment with this number of replicas."""
    return {**deployment, "spec": {**deployment["spec"], "replicas": replicas}}


def _record(owner: Owner, revision: Revision, deployment: Mapping[str, Any]) -> Manifest:
    """The Deployment as applied: while a later spec is proven, nothing else says how to restore or scale it."""
    meta = metadata(owner, revision.name, {names.LABEL_REVISION: revision.short})
    meta["annotations"] = {names.ANNOTATION_CLAIM: revision.place}
    if revision.pod_settings:
        meta["annotations"][names.ANNOTATION_POD_SETTINGS] = revision.pod_settings
    return {**render_template("record.yaml.j2", meta=meta), "data": deployment}


def _deployment(owner: Owner, runtime: str, revision: Revision, settings: Settings) -> Manifest:
    """The Deployment without its replicas, which are not part of a revision."""
    selector = {names.LABEL_MODEL: owner.name, names.LABEL_REVISION: revision.short}
    labels = {names.LABEL_REVISION: revision.short, names.LABEL_RUNTIME: runtime}
    meta = metadata(owner, revision.name, labels)
    meta["annotations"] = {names.LABEL_DIGEST: revision.digest}
    traits = revision.placement.traits
    store = of_server(owner, revision.request, settings, revision.images, writes=_has_engines(revision))
    where = scheduling(revision.placement, settings)
    if store["mounted"]:  # the kubelet pulls them, with what it pulls the pod's own images with
        where["pull_secrets"] = tuple(dict.fromkeys((*where["pull_secrets"], store["store_secret"])))
    apart = without_identity("pull", "repository", "server") if store["store_identity"] else {}
    return render_template(
        "triton.yaml.j2" if revision.triton else "deployment.yaml.j2",
        meta=meta,
        pod_labels={
            **traits.labels,
            **labels_of(owner),
            names.LABEL_REVISION: revision.short,
            names.LABEL_SERVER: "true",
        },
        pod_annotations={**traits.annotations, **apart},
        spread=[{**constraint, "labelSelector": {"matchLabels": selector}} for constraint in traits.spread],
        selector=selector,
        ports=revision.request,
        claim=claim_name(owner.name),
        grace=_MOST_SECONDS + _GRACE_SECONDS if revision.triton else _GRACE_SECONDS,
        scratch="16Gi" if revision.request.engine_cache else "1Gi",  # engines are as large as the model, or larger
        startup=revision.startup_seconds,
        deadline=_deadline(revision, settings),
        parser_env=REFUSES_IDENTITY if store["store_identity"] else [],
        **(_triton(revision) if revision.triton else {"request": as_argument(revision.request)}),
        **store,
        **where,
    )


def _deadline(revision: Revision, settings: Settings) -> int:
    """The platform's progress deadline, or longer if loading this model is known to take longer."""
    usual = revision.startup_seconds == STARTUP_SECONDS
    return (
        settings.progress_deadline_seconds
        if usual
        else max(settings.progress_deadline_seconds, revision.startup_seconds)
    )


def _has_engines(revision: Revision) -> bool:
    """Return whether the pod keeps TensorRT's engines for Triton beside its artifacts."""
    return bool(revision.triton) and "TensorRT" in revision.request.providers.names


def _triton(revision: Revision) -> dict[str, Any]:
    """Return the template values that only a pod with Triton has."""
    gpus = revision.placement.gpus
    cache = f"{ARTIFACTS}/{ENGINE_CACHE_FOLDER}"
    engines = cache if _has_engines(revision) else ""
    repository = RepositoryRequest(revision.request, _MODELS, gpus, revision.triton, engines)
    return {
        "repository": as_argument(repository),
        "models": _MODELS,
        "ready": f"/v2/models/{revision.request.name}/ready",
        "engines": engines,
        "engines_folder": ENGINE_CACHE_FOLDER,
        "arguments": [
            "tritonserver",
            f"--model-repository={_MODELS}",
            # The repository is what was laid out, whole: nothing is guessed, loaded or replaced later.
            "--model-control-mode=none",
            "--disable-auto-complete-config",
            "--strict-readiness=true",
            # A model that cannot be loaded ends the container, and its log's end is the reason (observe/tritonlog.py).
            "--exit-on-error=true",
            "--log-info=false",
            f"--exit-timeout-secs={_EXIT_SECONDS}",
            f"--grpc-max-connection-age={_GRPC_AGE_SECONDS * 1000}",
            *(f"--{name}-port={getattr(revision.request, f'{name}_port')}" for name in ("http", "grpc", "metrics")),
            # Clients need none of these, and some of them change the server. The key is told to nobody.
            f"--http-restricted-api={_RESTRICTED}:admin={revision.digest}",
            f"--grpc-restricted-protocol={_RESTRICTED}:admin={revision.digest}",
        ],
        "drain": [
            *("bash", "-c", read_script("drain.sh"), "drain"),
            *map(str, (revision.request.metrics_port, _LEAST_SECONDS, _QUIET_SECONDS, _MOST_SECONDS)),
        ],
        "triton": revision.triton,
        "gpus": gpus,
    }
