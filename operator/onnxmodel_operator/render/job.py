"""Make the Job of a stage."""

import signal
from functools import lru_cache
from typing import Any

from onnxmodel_operator import names
from onnxmodel_operator.api.spec import OnnxModelSpec
from onnxmodel_operator.memo import Named
from onnxmodel_operator.observe import MEASURING, WORKING
from onnxmodel_operator.plan.values import Step
from onnxmodel_operator.platform.pods import SourceTraits, source_traits
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
from onnxmodel_operator.render.store import of_step
from onnxmodel_operator.render.templates import render_template
from onnxmodel_runtime.contract.fetch import IDENTITY, IDENTITY_USED, SECRET_PREFIX
from onnxmodel_runtime.contract.outcome import CRASHES, ExitCode, killed_by
from onnxmodel_runtime.contract.stages import STAGES
from onnxmodel_runtime.contract.validate import PUBLIC_KEY_VARIABLE

# A proxy that a service mesh injects outlives the stage, and its Job would not end. Each mesh reads a word of its own.
_NO_MESH = {
    "sidecar.istio.io/inject": "false",
    "linkerd.io/inject": "disabled",
    "kuma.io/sidecar-injection": "disabled",
    "consul.hashicorp.com/connect-inject": "false",
}
_FINAL = (int(ExitCode.REFUSED), *sorted(map(killed_by, (*CRASHES, signal.SIGKILL))))
"""Exit codes after which another attempt would end the same way."""
_AZURE_LABEL = {"azure.workload.identity/use": "true"}
_NO_MESH_LABELS = {"sidecar.istio.io/inject": "false", "kuma.io/sidecar-injection": "disabled"}


@lru_cache(maxsize=REMEMBERED)
def job_manifest(owner: Owner, of: Named[tuple[OnnxModelSpec, Step, str, Settings]]) -> Manifest:
    """Make the Job. of: the spec, the step, the folders of the volume that it keeps, and the settings."""
    spec, step, keep, settings = of.parts
    traits = step.placement.traits
    meta = metadata(owner, step.job, {**traits.queue, names.LABEL_STAGE: step.stage})
    meta["annotations"] = {names.LABEL_DIGEST: step.digest}
    store = of_step(owner, step, settings, retain=spec.retain)
    source = source_traits(step.placement.pool, spec.source) if step.fetch else SourceTraits()
    fetches = bool(source.service_account_name)  # with the account's role, which no other container may have
    apart = fetches or store["store_identity"] is not None
    skipped = (step.stage, "pull", "push", *(() if fetches else ("fetch",)))
    if step.stage in MEASURING and step.quiet:
        meta["annotations"][names.ANNOTATION_QUIET] = "true"
    placed = scheduling(step.placement, settings)
    job = render_template(
        "job.yaml.j2",
        meta=meta,
        pod_labels={
            **traits.labels,
            **labels_of(owner),
            names.LABEL_STAGE: step.stage,
            **_NO_MESH_LABELS,
            **(_AZURE_LABEL if fetches else {}),
        },
        pod_annotations={**traits.annotations, **_NO_MESH, **(without_identity(*skipped) if apart else {})},
        stage=step.stage,
        request=as_argument(step.request),
        fetch=as_argument(step.fetch) if step.fetch else None,
        keep=keep,
        collects=STAGES[step.stage].collects or (store["remote"] and step.fetch is not None),
        collects_here=STAGES[step.stage].collects and not store["remote"],
        secret=spec.source.secret_ref.name if step.fetch and spec.source.secret_ref else None,
        source_claim=next(iter(spec.claims()), None) if step.fetch else None,
        fetch_env=_variables(source),
        stage_env=[*_public_key(step), *(REFUSES_IDENTITY if apart else [])],
        claim=claim_name(owner.name),
        writes=STAGES[step.stage].writes,
        begins=bool(step.fetch or store["pull"] or store["push"]),
        **store,
        jobs=settings.jobs,
        exits=_FINAL,
        **{**placed, "affinity": _affinity(step), "account": source.service_account_name or placed["account"]},
    )
    return stamped(job, keep)


def _affinity(step: Step) -> dict[str, Any]:
    """The pool's affinity, and a rule that no stage of any model in any namespace runs beside a measurement.

    The scheduler keeps such a rule both ways: while the measurement's pod is there, it puts no stage beside it. But it
    reconsiders an excluded pod only when a pod ends that the *own* rule of the excluded one names (Kubernetes 1.32 and
    newer), or after five minutes. So other stages name measurements too, for a topology that no node has, which
    excludes nothing.
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


def _public_key(step: Step) -> list[dict[str, Any]]:
    if step.public_key is None:
        return []
    return [{"name": PUBLIC_KEY_VARIABLE, "valueFrom": {"secretKeyRef": step.public_key.model_dump()}}]


def _variables(source: SourceTraits) -> list[dict[str, Any]]:
    """Those of the fetch. They are prefixed as a Secret's are: the fetch takes no others."""
    out = [{"name": f"{SECRET_PREFIX}{name}", "value": _literal(value)} for name, value in sorted(source.env.items())]
    return [*out, {"name": IDENTITY, "value": IDENTITY_USED}] if source.service_account_name else out


def _literal(value: str) -> str:
    """The kubelet would replace $(NAME) with another variable, such as a credential."""
    return value.replace("$", "$$")
