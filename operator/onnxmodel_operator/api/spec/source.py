"""Define spec.source: where the model is, and who must have signed it."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from onnxmodel_operator.api.base import Model, Name, cel
from onnxmodel_operator.api.patterns import SHA256, SOURCE_FORMS, SOURCE_URI


class SecretReference(Model):
    """A Secret in the model's namespace."""

    name: Name


class SecretKeyReference(Model):
    """One key of a Secret in the model's namespace."""

    name: Name
    key: Name


class Identity(Model):
    """Who must have signed: an OpenID Connect identity and its issuer."""

    identity: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    issuer: Annotated[str, StringConstraints(min_length=1, max_length=512)]


class Signature(Model):
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


class Source(Model):
    """Where the model is."""

    uri: Annotated[str, StringConstraints(pattern=SOURCE_URI, max_length=2048)] = Field(
        description=f"{SOURCE_FORMS}: a .onnx file; a "
        "folder, ending in /, that holds model.onnx and its external data (not http); or such a folder as .tar.gz or .zip."
    )
    sha256: Annotated[str, StringConstraints(pattern=SHA256, max_length=64)] | None = Field(
        default=None,
        description="Pin of the model file. What was fetched is recorded in status.model.sha256 in any case.",
    )
    files: Annotated[
        dict[Name, Annotated[str, StringConstraints(pattern=SHA256, max_length=64)]], Field(max_length=64)
    ] = Field(
        default={},
        description="Pins of other files of a folder, such as external data: path -> sha256. What is not here is not pinned.",
    )
    secret_ref: SecretReference | None = Field(
        default=None,
        description="Keys become environment variables of the fetch container alone: AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL for s3; HTTP_AUTHORIZATION for http; docs/sources.md has all.",
    )
    signature: Signature | None = Field(
        default=None, description="Who must have signed the model. It is verified before anything of it is parsed."
    )
