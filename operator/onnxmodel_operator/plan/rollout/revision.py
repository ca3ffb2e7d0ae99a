"""The revision of the spec and the winner: a Deployment of exactly this."""

from dataclasses import replace

from onnxmodel_operator import names
from onnxmodel_operator.plan import digests
from onnxmodel_operator.plan.rollout import canary, refusal
from onnxmodel_operator.plan.rollout.active import recorded
from onnxmodel_operator.plan.rollout.scaling import sleeps
from onnxmodel_operator.plan.values import (
    STARTUP_SECONDS,
    Advance,
    Context,
    Phase,
    Progress,
    Revision,
    State,
    Stop,
    going,
)
from onnxmodel_runtime.contract.benchmark import BenchmarkResult
from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.contract.optimize import OptimizeResult
from onnxmodel_runtime.contract.serve import MAX_QUEUE_SIZE, ServeRequest

_ENGINES = "/tmp/engines"  # in the server's own volume: it outlives a container, not its pod


def look(context: Context) -> Advance | Stop:
    """Require a Deployment of the revision, unless its replicas are 0.

    At night a new revision is proven as at day: with one replica, until it is the active one.
    """
    revision = _revision(context)
    if sleeps(context.model) and revision.short != context.active:
        revision = replace(revision, replicas=1)
    context = replace(context, revision=revision)
    if revision.replicas == 0:
        return Stop(context, _without_replicas(context))
    found = refusal.look(canary.begin(context))
    if isinstance(found, Stop):
        return found
    context = found.context
    if revision.short not in context.seen.revisions:
        return Stop(context, going(Phase.DEPLOYING, "Deploying", f"Deployment {revision.name} is being applied"))
    return Advance(context)


def _without_replicas(context: Context) -> Progress:
    if sleeps(context.model):
        message = f"there are no requests: revision {context.active} is proven, and starts with the next one"
        return Progress(State.SCALED_TO_ZERO, Phase.SCALED_TO_ZERO, "ScaledToZero", message)
    return Progress(State.OFF, Phase.OFF, "TurnedOff", "serving.replicas is 0: nothing serves")


def _revision(context: Context) -> Revision:
    model, platform = context.model, context.platform
    variant = context.chosen.winner.variant
    request = _request(context)
    digest = digests.of_revision(context.place, request, platform.server, platform.triton)
    short = names.short(digest)
    loading = context.result(BenchmarkResult).load_seconds.get(variant.name, 0.0)
    return Revision(
        digest=digest,
        name=names.child(model.name, short),
        request=replace(request, revision=short),
        placement=platform.server,
        replicas=model.spec.serving.replicas,
        place=context.place or "",
        startup_seconds=_startup_seconds(loading),
        triton=platform.triton,
        recorded=(deployment := recorded(context.seen, short, context.settings)),
        images=_images(context),
        pod_settings=""
        if deployment and short not in context.seen.made_with
        else digests.of_pod_settings(context.settings),
    )


def _images(context: Context) -> dict[str, str]:
    """The images that the stages of this revision left, if the platform's servers mount images."""
    oci = context.settings.artifacts.oci
    if oci is None or not oci.image_volumes:
        return {}
    return {name: digest for step in context.steps if step.outcome for name, digest in step.outcome.images.items()}


def _request(context: Context) -> ServeRequest:
    """Build the request to the winner's server. It names no revision yet."""
    spec, platform = context.model.spec.serving, context.platform
    variant, optimized = context.chosen.winner.variant, context.result(OptimizeResult)
    parity, batching = context.model.spec.optimization.parity, spec.batching
    return ServeRequest(
        name=context.model.name,
        model=variant.path,
        sha256=variant.sha256,
        data_sha256=variant.data_sha256,
        probe=optimized.probe,
        graph_level=variant.graph_level,
        providers=platform.providers,
        tolerance=Tolerance(parity.relative, parity.absolute, parity.cosine),
        max_batch_size=batching.max_batch_size,
        max_queue_delay_microseconds=batching.max_queue_delay_microseconds,
        preferred_batch_sizes=tuple(sorted(set(batching.preferred_batch_sizes))),
        default_timeout_microseconds=batching.default_timeout_microseconds,
        # Triton bounds its queue by its batcher alone, which has a price: not unless it was asked for.
        max_queue_size=batching.max_queue_size or (0 if platform.triton else MAX_QUEUE_SIZE),
        instances=spec.instances,
        engine_cache=_ENGINES if "TensorRT" in platform.providers.names and not platform.triton else "",
        access_log=spec.access_log,
        batch=optimized.batch,
        unjoined=variant.unjoined,
    )


def _startup_seconds(loading: float) -> int:
    """Ten times what the benchmark needed to load the model, engines included. In few steps: it is part of the pods, which a
    slightly different measurement must not replace.
    """
    return next((step for step in (STARTUP_SECONDS, 3600) if 10 * loading <= step), 14400)
