"""Make the Services of a model."""

from functools import lru_cache

from onnxmodel_operator import names
from onnxmodel_operator.render.parts import REMEMBERED, Manifest, Owner, metadata, stamped
from onnxmodel_operator.render.templates import render_template


@lru_cache(maxsize=REMEMBERED)
def service_manifest(owner: Owner, name: str, revision: str, *, headless: bool = False) -> Manifest:
    """Make a Service that selects a revision. headless: without a cluster IP, so that a client finds each pod."""
    selector = {names.LABEL_MODEL: owner.name, names.LABEL_REVISION: revision}
    return stamped(render_template("service.yaml.j2", meta=metadata(owner, name), selector=selector, headless=headless))


@lru_cache(maxsize=REMEMBERED)
def divided_service(owner: Owner, stable: str) -> Manifest:
    """Make the model's Service so that it selects the servers of every revision. stable: the proven one."""
    meta = metadata(owner, owner.name)
    meta["annotations"] = {names.ANNOTATION_STABLE: stable}
    selector = {names.LABEL_MODEL: owner.name, names.LABEL_SERVER: "true"}
    return stamped(render_template("service.yaml.j2", meta=meta, selector=selector, headless=False))
