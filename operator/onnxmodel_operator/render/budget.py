"""Make the PodDisruptionBudget of a model."""

from functools import lru_cache

from onnxmodel_operator import names
from onnxmodel_operator.render.parts import REMEMBERED, Manifest, Owner, metadata, stamped
from onnxmodel_operator.render.templates import render_template


@lru_cache(maxsize=REMEMBERED)
def budget_manifest(owner: Owner, revisions: tuple[str, ...]) -> Manifest:
    """Make the budget of the servers of these revisions, as one."""
    return stamped(
        render_template(
            "budget.yaml.j2",
            meta=metadata(owner, names.child(owner.name, "servers")),
            model={names.LABEL_MODEL: owner.name},
            revision=names.LABEL_REVISION,
            revisions=revisions,
        )
    )
