"""Make what a container needs to take a role of the store with a token of its pod's account.

The token is a volume that only the named containers mount. A webhook would give it to every container of the pod.
"""

from dataclasses import dataclass
from typing import Any

from onnxmodel_operator.platform.settings import S3
from onnxmodel_runtime.contract.fetch import IDENTITY, IDENTITY_REFUSED, SECRET_PREFIX

_FOLDER = "/var/run/secrets/onnx-operator.dev"
_SECONDS = 3600
REFUSES_IDENTITY = [{"name": IDENTITY, "value": IDENTITY_REFUSED}]
"""Variables of a container that parses a model in a pod whose account may have a role: it ends where it has a token."""


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """env: variables of such a container. token: of the volume. folder: where that is mounted."""

    env: list[dict[str, Any]]
    token: dict[str, Any]
    folder: str = _FOLDER


def store_identity(namespace: str, s3: S3) -> StoreIdentity | None:
    """Return what the pods of a namespace show the store. None where they have keys."""
    identity = s3.web_identity
    if identity is None:
        return None
    variables = {
        "AWS_ROLE_ARN": identity.role_arn.replace("$namespace", namespace),
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{_FOLDER}/token",
        "AWS_DEFAULT_REGION": s3.region,
        **({"AWS_ENDPOINT_URL_STS": s3.token_service} if s3.token_service else {}),
    }
    env: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in variables.items()]
    if authority := identity.ca_config_map_ref:
        source = {"configMapKeyRef": {"name": authority.name, "key": authority.key}}
        env.append({"name": f"{SECRET_PREFIX}CA_CERTIFICATES", "valueFrom": source})
    token = {"path": "token", "audience": identity.audience, "expirationSeconds": _SECONDS}
    return StoreIdentity(env, token)
