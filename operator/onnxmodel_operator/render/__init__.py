"""Kubernetes objects from a Plan. Pure: the same plan gives the same manifests, in the same order."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from onnxmodel_operator import names
from onnxmodel_operator.api.resource import OnnxModel, Resource
from onnxmodel_operator.api.spec import OnnxModelSpec
from onnxmodel_operator.memo import Named
from onnxmodel_operator.observe import MEASURING, WORKING
from onnxmodel_operator.plan import STARTUP_SECONDS, Plan, Revision, Step, load_tested
from onnxmodel_operator.platform.resolve import Placement
from onnxmodel_operator.platform.settings import Settings
from onnxmodel_operator.render.templates import read_script, render_template
from onnxmodel_runtime.contract.codec import dumps
from onnxmodel_runtime.contract.fetch import SECRET_PREFIX
from onnxmodel_runtime.contract.outcome import ExitCode
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.stages import STAGES, Stage
from onnxmodel_runtime.contract.validate import PUBLIC_KEY_VARIABLE
from onnxmodel_runtime.contract.volume import ARTIFACTS, ENGINE_CACHE_FOLDER

Manifest = dict[str, Any]
"""Remembered and shared: nobody may change one."""

_REMEMBERED = 256
"""Manifests of each sort: a model's stay as they are from turn to turn while it is proven, and many are proven at a time."""
_GRACE_SECONDS = 45  # preStop's 5, the server's 20 for what is in flight, 2 to tell the rest, and room
_EXIT_SECONDS = 20
# Triton cannot ask its clients to leave. Those of gRPC connect anew when their connection has this age; HTTP has no such
# thing. So the pod stays until nobody has asked for a while.
_GRPC_AGE_SECONDS = 15
_LEAST_SECONDS = 22  # 5 for endpoints, the age, and a tenth more: gRPC spreads it by so much
_QUIET_SECONDS = 5
_MOST_SECONDS = 600
_MODELS = "/models"
# A proxy that a service mesh injects outlives the stage, and its Job would not end. Each mesh reads a word of its own.
_NO_MESH = {
    "sidecar.istio.io/inject": "false",
    "linkerd.io/inject": "disabled",
    "kuma.io/sidecar-injection": "disabled",
    "consul.hashicorp.com/connect-inject": "false",
}
_NO_MESH_LABELS = {"sidecar.istio.io/inject": "false", "kuma.io/sidecar-injection": "disabled"}
_RESTRICTED = "shared-memory,trace,logging"


@dataclass(frozen=True, slots=True)
class _Whose:
    """The model, without what changes from turn to turn."""

    namespace: str
    name: str
    uid: str


def render(model: Resource, plan: Plan, settings: Settings) -> tuple[Manifest, ...]:
    """Every child that must exist now. Children that are fine as they are, are not left out: `apply` compares.

    What serves comes first: a Job that the API server refuses must not keep it from being scaled or restored.
    """
    whose = _Whose(model.namespace, model.name, model.uid)
    out = [_stamped(_scaled(plan.kept.record, plan.kept.replicas))] if plan.kept else []
    if plan.route:
        out.append(_service(whose, model.name, plan.route))
    if isinstance(model, OnnxModel):  # else its spec cannot be read
        out += _proven(whose, model.spec, plan, settings)
    return tuple(out)


def _proven(model: _Whose, spec: OnnxModelSpec, plan: Plan, settings: Settings) -> list[Manifest]:
    """What proves the newest spec, and its revision."""
    out = [_claim(model, Named("", settings))] if plan.claim else []
    if plan.job:
        step = replace(plan.job, outcome=None, record=None, seen=None)  # what was seen of it makes no other Job
        out.append(_job(model, Named(step.job, (spec, step, ",".join(plan.keep), settings))))
    if plan.revision:
        out += _serving(model, Named(plan.revision.digest, (spec.serving.runtime, plan.revision, settings)))
    if tested := load_tested(plan.job, plan.revision):
        # Without an address of its own, so that the load test finds those of the pods, and asks one of them.
        out.append(_service(model, tested.name, tested.short, headless=True))
    return out


@lru_cache(maxsize=_REMEMBERED)
def _serving(model: _Whose, of: Named[tuple[str, Revision, Settings]]) -> tuple[Manifest, Manifest]:
    """The Deployment of a revision, and first the record, so that there is one of everything that serves."""
    runtime, revision, settings = of.parts
    deployment = _deployment(model, runtime, revision, settings)
    record = _record(model, revision, deployment)
    return _stamped(record), _stamped(_scaled(deployment, revision.replicas))


def claim_name(model: str) -> str:
    """The model's volume."""
    return names.child(model, "artifacts")


@lru_cache(maxsize=_REMEMBERED)
def _claim(model: _Whose, of: Named[Settings]) -> Manifest:
    meta = _meta(model, claim_name(model.name))
    return _stamped(render_template("claim.yaml.j2", meta=meta, artifacts=of.parts.artifacts))


@lru_cache(maxsize=_REMEMBERED)
def _job(model: _Whose, of: Named[tuple[OnnxModelSpec, Step, str, Settings]]) -> Manifest:
    spec, step, keep, settings = of.parts
    meta = _meta(model, step.job, {names.LABEL_STAGE: step.stage})
    meta["annotations"] = {names.LABEL_DIGEST: step.digest}
    if step.stage in MEASURING and step.quiet:
        meta["annotations"][names.ANNOTATION_QUIET] = "true"
    job = render_template(
        "job.yaml.j2",
        meta=meta,
        pod_labels={**_labels(model), names.LABEL_STAGE: step.stage, **_NO_MESH_LABELS},
        pod_annotations=_NO_MESH,
        stage=step.stage,
        request=_argument(step.request),
        fetch=_argument(step.fetch) if step.fetch else None,
        keep=keep,
        collects=STAGES[step.stage].collects,
        secret_prefix=SECRET_PREFIX,
        secret=spec.source.secret_ref.name if step.fetch and spec.source.secret_ref else None,
        source_claim=_source_claim(spec) if step.fetch else None,
        public_key=_public_key(spec) if step.stage is Stage.VALIDATE else None,
        claim=claim_name(model.name),
        writes=STAGES[step.stage].writes,
        jobs=settings.jobs,
        exits=(ExitCode.REFUSED, 132, 134, 135, 136, 137, 139),
        **{**_scheduling(step.placement, settings), "affinity": _affinity(step)},
    )
    return _stamped(job, keep)


def _affinity(step: Step) -> dict[str, Any]:
    """The pool's, and: what measures has a node on which no stage runs, of any model in any namespace.

    The scheduler keeps such a rule both ways: as long as that pod is there, it puts no stage beside it. But a stage that it
    kept away so is looked at again when a pod ends that the stage's *own* rule names (Kubernetes 1.32 and newer), or
    after five minutes. So other stages name measurements too, for a topology that no node has: that keeps nothing away.
    """
    affinity = step.placement.pool.affinity
    if step.stage not in WORKING:
        return affinity
    measures = step.stage in MEASURING
    stages = WORKING if measures and step.quiet else MEASURING
    rule = {
        "topologyKey": "kubernetes.io/hostname" if measures else f"{names.GROUP}/none",
        "namespaceSelector": {},
        "labelSelector": {
            "matchExpressions": [{"key": names.LABEL_STAGE, "operator": "In", "values": [str(s) for s in stages]}]
        },
    }
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    given = affinity.get("podAntiAffinity", {})
    return {**affinity, "podAntiAffinity": {**given, required: [*given.get(required, ()), rule]}}


def _record(model: _Whose, revision: Revision, deployment: Manifest) -> Manifest:
    """The Deployment as it is applied: while a later spec is proven, nothing else says how to restore or scale it."""
    meta = _meta(model, revision.name, {names.LABEL_REVISION: revision.short})
    meta["annotations"] = {names.ANNOTATION_CLAIM: revision.claim}
    return render_template("record.yaml.j2", meta=meta, deployment=deployment)


def _scaled(deployment: Mapping[str, Any], replicas: int) -> Manifest:
    return {**deployment, "spec": {**deployment["spec"], "replicas": replicas}}


def _deployment(model: _Whose, runtime: str, revision: Revision, settings: Settings) -> Manifest:
    """Without its replicas, which are no part of a revision."""
    selector = {names.LABEL_MODEL: model.name, names.LABEL_REVISION: revision.short}
    labels = {names.LABEL_REVISION: revision.short, names.LABEL_RUNTIME: runtime}
    meta = _meta(model, revision.name, labels)
    meta["annotations"] = {names.LABEL_DIGEST: revision.digest}
    return render_template(
        "triton.yaml.j2" if revision.triton else "deployment.yaml.j2",
        meta=meta,
        pod_labels={**_labels(model), names.LABEL_REVISION: revision.short},
        selector=selector,
        ports=revision.request,
        claim=claim_name(model.name),
        grace=_MOST_SECONDS + _GRACE_SECONDS if revision.triton else _GRACE_SECONDS,
        scratch="16Gi" if revision.request.engine_cache else "1Gi",  # engines are as large as the model, or larger
        startup=revision.startup_seconds,
        deadline=_deadline(revision, settings),
        **(_triton(revision) if revision.triton else {"request": _argument(revision.request)}),
        **_scheduling(revision.placement, settings),
    )


def _deadline(revision: Revision, settings: Settings) -> int:
    """The platform's, unless loading this model is known to take longer than is usual."""
    usual = revision.startup_seconds == STARTUP_SECONDS
    return (
        settings.progress_deadline_seconds
        if usual
        else max(settings.progress_deadline_seconds, revision.startup_seconds)
    )


def _triton(revision: Revision) -> dict[str, Any]:
    """What the pod of a Triton has beside that of the ONNX Runtime server."""
    gpus = revision.placement.gpus
    cache = f"{ARTIFACTS}/{ENGINE_CACHE_FOLDER}"
    engines = cache if "TensorRT" in revision.request.providers.names else ""
    repository = RepositoryRequest(revision.request, _MODELS, gpus, revision.triton, engines)
    return {
        "repository": _argument(repository),
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


@lru_cache(maxsize=_REMEMBERED)
def _service(model: _Whose, name: str, revision: str, *, headless: bool = False) -> Manifest:
    selector = {names.LABEL_MODEL: model.name, names.LABEL_REVISION: revision}
    return _stamped(render_template("service.yaml.j2", meta=_meta(model, name), selector=selector, headless=headless))


def _scheduling(placement: Placement, settings: Settings) -> dict[str, Any]:
    resources = dict(placement.resources.data)
    if placement.gpus:
        # An extended resource's request equals its limit, so the limit is enough.
        resources["limits"] = {**resources["limits"], placement.pool.gpu_resource: str(placement.gpus)}
    return {
        "image": placement.image,
        "images": settings.images,
        "pool": placement.pool,
        "affinity": placement.pool.affinity,
        "resources": resources,
    }


def _argument(request: Any) -> str:
    """A request as a container's argument. The kubelet replaces $(NAME) in arguments by what the environment holds, the
    credentials of the fetch included: so there is no $ in it.
    """
    return dumps(request).replace("$", "\\u0024")


def _public_key(spec: OnnxModelSpec) -> dict[str, Any] | None:
    signature = spec.source.signature
    if signature is None or signature.public_key_ref is None:
        return None
    reference = signature.public_key_ref.model_dump()
    return {"name": PUBLIC_KEY_VARIABLE, "valueFrom": {"secretKeyRef": reference}}


def _source_claim(spec: OnnxModelSpec) -> str | None:
    claims = (uri.removeprefix("pvc://").partition("/")[0] for _, uri in spec.uris() if uri.startswith("pvc://"))
    return next(claims, None)


def _labels(model: _Whose) -> dict[str, str]:
    return {names.MANAGED_BY: names.MANAGER, names.LABEL_MODEL: model.name}


def _meta(model: _Whose, name: str, labels: dict[str, str] | None = None) -> Manifest:
    """Own labels only: with a GitOps tool's labels copied from the model, it would take the child for its own."""
    return {
        "name": name,
        "namespace": model.namespace,
        "labels": {**_labels(model), **(labels or {})},
        "ownerReferences": [
            {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": model.name,
                "uid": model.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def _stamped(manifest: Manifest, keep: str = "") -> Manifest:
    """With a digest of the manifest. `keep`, the folders that a Job leaves on the volume, is not part of it: what is needed
    changes while the Job runs, and is no reason to make it again.
    """
    given = manifest["metadata"].get("annotations", {})
    digest = names.digest(_without(manifest, keep) if manifest["kind"] == "Job" else manifest)
    annotations = {**given, names.ANNOTATION_APPLIED: names.short(digest)}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def _without(value: Any, text: str) -> Any:
    """The same data, with "" in place of every string that equals `text`."""
    match value:
        case dict():
            return {key: _without(item, text) for key, item in value.items()}
        case list() | tuple():
            return [_without(item, text) for item in value]
        case _:
            return "" if value == text else value
