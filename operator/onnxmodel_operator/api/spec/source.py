"""Define spec.source: where the model is, and who must have signed it."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from onnxmodel_operator.api.base import ApiObject, Name, cel
from onnxmodel_operator.api.patterns import SHA256
from onnxmodel_runtime.contract.fetch import VARIABLES
from onnxmodel_runtime.contract.uris import SOURCE_FORMS, SOURCE_URI

FetchVariable = Literal[VARIABLES]  # type: ignore[valid-type]
_VARIABLE_RULE = f"!has(self.env) || self.env.all(key, key in {list(VARIABLES)})"
_VARIABLE_MESSAGE = f"a key of env must be one of {', '.join(VARIABLES)}"


class SecretReference(ApiObject):
    """A Secret in the model's namespace."""

    name: Name


class SecretKeyReference(ApiObject):
    """A key of a Secret in the model's namespace."""

    name: Name
    key: Name


class Identity(ApiObject):
    """The required signer: an OpenID Connect identity and its issuer."""

    identity: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    issuer: Annotated[str, StringConstraints(min_length=1, max_length=512)]


class Signature(ApiObject):
    """An OpenSSF model signature."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.publicKeyRef) != has(self.identity)",
                "signature: exactly one of publicKeyRef and identity must be set",
                ".publicKeyRef",
            )
        )
    )
    uri: Annotated[str, StringConstraints(pattern=SOURCE_URI, max_length=2048)]
    public_key_ref: SecretKeyReference | None = None
    identity: Identity | None = None

    @model_validator(mode="after")
    def _one_key(self) -> "Signature":
        if (self.public_key_ref is None) == (self.identity is None):
            raise ValueError("exactly one of publicKeyRef and identity must be set")
        return self


class Source(ApiObject):
    """Location of the model."""

    model_config = ConfigDict(json_schema_extra=cel((_VARIABLE_RULE, _VARIABLE_MESSAGE, ".env")))

    uri: Annotated[str, StringConstraints(pattern=SOURCE_URI, max_length=2048)] = Field(
        description=f"{SOURCE_FORMS}: an .onnx file; a "
        "folder, ending in /, with model.onnx and its external data (not http); or such a folder as .tar.gz or .zip."
    )
    sha256: Annotated[str, StringConstraints(pattern=SHA256, max_length=64)] | None = Field(
        default=None,
        description="SHA-256 digest that the model file must have. The digest of the fetched file is always "
        "recorded in status.model.sha256.",
    )
    files: Annotated[
        dict[Name, Annotated[str, StringConstraints(pattern=SHA256, max_length=64)]], Field(max_length=64)
    ] = Field(
        default={},
        description="SHA-256 digests that other files of a folder must have, such as external data: path -> sha256. "
        "Files that are not listed are not pinned.",
    )
    secret_ref: SecretReference | None = Field(
        default=None,
        description="Keys become environment variables of the fetch container only: AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL for s3; HTTP_AUTHORIZATION for http; "
        "docs/sources.md lists all.",
    )
    service_account_name: Name | None = Field(
        default=None,
        description="ServiceAccount of the pods that fetch, for s3: only the fetch container uses its role in the cloud "
        "(workload identity), so that no key is needed. Not the account of servers (serving.pod).",
    )
    env: Annotated[dict[FetchVariable, Annotated[str, StringConstraints(max_length=16384)]], Field(max_length=16)] = (
        Field(
            default={},
            description="Variables of the fetch container that are no secret, such as AWS_REGION and AWS_ENDPOINT_URL. They "
            "win over the Secret's and the pool's.",
        )
    )
    signature: Signature | None = Field(
        default=None,
        description="Who must have signed the model. The signature is verified before any part of the model is parsed.",
    )
