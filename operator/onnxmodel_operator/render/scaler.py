"""Make the autoscaler of a model: a ScaledObject of KEDA, or a HorizontalPodAutoscaler."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from onnxmodel_operator import names
from onnxmodel_operator.memo import Named
from onnxmodel_operator.plan.rollout.external import filled
from onnxmodel_operator.plan.rollout.scaling import SCALED_OBJECT
from onnxmodel_operator.plan.values import Scaling
from onnxmodel_operator.platform.settings import Autoscalers, Prometheus
from onnxmodel_operator.render.parts import REMEMBERED, Manifest, Owner, metadata, stamped
from onnxmodel_operator.render.templates import render_template

_ROWS, _PENDING = "nv_inference_count", "nv_inference_pending_request_count"
"""Metrics of both runtimes' servers."""
_REVISION = "onnx_operator_dev_revision"
"""The pods' label of this name, as Prometheus writes it."""
ROWS, PENDING = "onnxmodel_rows_per_second", "onnxmodel_pending_requests"
"""Names that a metrics API server has to give the same numbers, for a HorizontalPodAutoscaler."""
_NEVER = "1000000000000"


@lru_cache(maxsize=REMEMBERED)
def scaler_manifest(owner: Owner, of: Named[tuple[Scaling, Autoscalers, Prometheus | None]]) -> Manifest:
    """Make the autoscaler of this kind."""
    scaling, settings, prometheus = of.parts
    common: dict[str, Any] = {
        "meta": metadata(owner, names.child(owner.name, "autoscaler")),
        "target": {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": owner.name},
        "least": scaling.least,
        "most": scaling.most,
        "seconds": scaling.seconds,
    }
    if scaling.kind == SCALED_OBJECT:
        assert prometheus is not None
        triggers = _triggers(owner, scaling, settings.activation_query, prometheus)
        polling = settings.polling_interval_seconds
        manifest = render_template("scaledobject.yaml.j2", **common, polling=polling, triggers=triggers)
    else:
        manifest = render_template(
            "autoscaler.yaml.j2",
            **common,
            metric=ROWS if scaling.rows else PENDING,
            model={"model": owner.name},
            revision=_REVISION,
            revisions=list(scaling.revisions),
            average=f"{max(1, round(scaling.target * 1000))}m",
        )
    return stamped(manifest)


def _triggers(owner: Owner, scaling: Scaling, wakes: str, prometheus: Prometheus) -> list[Mapping[str, Any]]:
    """The load, and what wakes a model that sleeps. At zero replicas no server reports a load, and there is none."""
    matching = f'namespace="{owner.namespace}",model="{owner.name}",{_REVISION}=~"{"|".join(scaling.revisions)}"'
    window = prometheus.window
    load = f"sum(rate({_ROWS}{{{matching}}}[{window}]))" if scaling.rows else f"sum({_PENDING}{{{matching}}})"
    if scaling.least:
        return [_trigger(prometheus, load, f"{scaling.target:.10g}")]
    wakes = f"sum({filled(wakes, {'namespace': owner.namespace, 'model': owner.name})})"
    # It only wakes: the load alone says how many replicas there are.
    return [
        _trigger(prometheus, f"{load} or 0 * {wakes}", f"{scaling.target:.10g}"),
        _trigger(prometheus, wakes, _NEVER),
    ]


def _trigger(prometheus: Prometheus, query: str, threshold: str) -> Mapping[str, Any]:
    """Without an answer the replicas stay as they are: a Prometheus that lost its targets must not look like no load."""
    return {
        "type": "prometheus",
        "metadata": {
            "serverAddress": prometheus.address,
            "query": query,
            "threshold": threshold,
            "ignoreNullValues": "false",
        },
    }
