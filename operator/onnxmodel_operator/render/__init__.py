"""Kubernetes objects from a Plan. Pure: the same plan gives the same manifests, in the same order."""

from dataclasses import replace
from functools import lru_cache

from onnxmodel_operator import names
from onnxmodel_operator.api.resource import OnnxModel, Resource
from onnxmodel_operator.api.spec import OnnxModelSpec
from onnxmodel_operator.memo import Named
from onnxmodel_operator.plan.rollout.canary import ROUTE
from onnxmodel_operator.plan.rollout.protection import protected
from onnxmodel_operator.plan.rollout.replicas import asked_alone
from onnxmodel_operator.plan.rollout.routes import hostnames
from onnxmodel_operator.plan.values import Plan
from onnxmodel_operator.platform.settings import Settings
from onnxmodel_operator.render.budget import budget_manifest
from onnxmodel_operator.render.job import job_manifest
from onnxmodel_operator.render.parts import REMEMBERED, Manifest, Owner, claim_name, metadata, stamped
from onnxmodel_operator.render.route import route_manifests
from onnxmodel_operator.render.scaler import scaler_manifest
from onnxmodel_operator.render.server import scaled, server_manifests
from onnxmodel_operator.render.service import divided_service, service_manifest
from onnxmodel_operator.render.templates import render_template

__all__ = ["Manifest", "claim_name", "render"]


def render(model: Resource, plan: Plan, settings: Settings) -> tuple[Manifest, ...]:
    """Make every child that must exist now, whether or not it is up to date: `drift` compares.

    What serves comes first: a Job that the API server refuses must not keep it from being scaled or restored.
    """
    owner = Owner(model.namespace, model.name, model.uid)
    out = [stamped(scaled(plan.kept.record, plan.kept.replicas))] if plan.kept else []
    if len(plan.traffic) > 1 and plan.routes is None:
        out.append(divided_service(owner, plan.traffic[0][0]))
    elif plan.route:
        out.append(service_manifest(owner, model.name, plan.route))
    if revisions := protected(model, plan.traffic):
        out.append(budget_manifest(owner, revisions))
    if isinstance(model, OnnxModel):  # else its spec cannot be read
        out += _proven(owner, model.spec, plan, settings)
    if plan.routes and settings.routes:
        # Before the Deployment of a canary, so that its Service is known when its pods are.
        if plan.shift and plan.shift.backend == ROUTE and plan.revision:
            short = plan.revision.short
            out.insert(0, service_manifest(owner, names.canary_service(model.name, short), short))
        hosts = hostnames(model, settings.routes)
        out += route_manifests(owner, plan.routes, settings.routes, hosts)
    if plan.scaling and settings.autoscaling and not plan.scaling.missing:
        out.append(
            scaler_manifest(owner, Named(plan.scaling.kind, (plan.scaling, settings.autoscaling, settings.prometheus)))
        )
    return tuple(out)


def _proven(owner: Owner, spec: OnnxModelSpec, plan: Plan, settings: Settings) -> list[Manifest]:
    """The children that prove the newest spec, and its revision."""
    out = [_claim(owner, Named("", settings))] if plan.claim else []
    if plan.job:
        step = replace(plan.job, outcome=None, record=None, seen=None)  # what was seen of it makes no other Job
        out.append(job_manifest(owner, Named(step.job, (spec, step, ",".join(plan.keep), settings))))
    if plan.revision:
        out += server_manifests(owner, Named(plan.revision.digest, (spec.serving.runtime, plan.revision, settings)))
    if alone := asked_alone(plan.job, plan.revision, plan.comparison):
        # Without an address of its own, so that whoever asks finds those of the pods, and asks one of them.
        out.append(service_manifest(owner, alone.name, alone.short, headless=True))
    return out


@lru_cache(maxsize=REMEMBERED)
def _claim(owner: Owner, of: Named[Settings]) -> Manifest:
    meta = metadata(owner, claim_name(owner.name))
    return stamped(render_template("claim.yaml.j2", meta=meta, artifacts=of.parts.artifacts))
