"""Refusal to parse a model where a webhook has put a credential. Standard library only."""

import os
from pathlib import Path

from onnxmodel_runtime.contract.fetch import IDENTITY, IDENTITY_REFUSED
from onnxmodel_runtime.errors import StageError

_TOKENS = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AZURE_FEDERATED_TOKEN_FILE",
)
_SECRETS = Path("/var/run/secrets")
_MOUNTS = ("eks.amazonaws.com", "pods.eks.amazonaws.com", "azure", "kubernetes.io", "onnx-operator.dev")
"""Folders of tokens below it. Not all that is there is one: CRI-O puts the node's subscriptions there on Red Hat's systems."""


def check_no_identity(folder: Path = _SECRETS) -> None:
    """Raise StageError if this container has a token of the pod's account although it was to have none."""
    if os.environ.get(IDENTITY) != IDENTITY_REFUSED:
        return
    found = next((name for name in _TOKENS if os.environ.get(name)), "")
    found = found or next((str(folder / name) for name in _MOUNTS if (folder / name).exists()), "")
    if found:
        raise StageError(
            "CredentialExposed",
            f"this container parses the model and would have a credential of the pod's account ({found})",
            "Use a webhook for workload identity that leaves out the containers of its skip-containers annotation, or an "
            "account without a role; for a fetch, the Secret in spec.source.secretRef instead of "
            "spec.source.serviceAccountName. Then, in a cluster, delete the Job or the server's pods: they keep it.",
        )
