"""s3://bucket/key, with boto3: credentials, region and endpoint come from the environment (AWS_*)."""

import os
from collections.abc import Generator
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as aws
import urllib3.exceptions
from botocore.config import Config

from onnxmodel_runtime.contract import MODEL_FILE
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources import CHUNK, Remote, UnreachableError, forbidden, invalid, not_found

_MISSING = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
_DENIED = {"401", "403", "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_DENIED |= {
    "InvalidToken",
    "AccountProblem",
    "AllAccessDisabled",
    "TokenRefreshRequired",
    "InvalidClientTokenId",
    "XAdminUserNotFound",
}
_MAX_FILES = 10_000


class S3Source:
    """An object, or a prefix that ends in "/"."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri, allow_fragments=False)
        # A key may hold "?", which is no query here.
        self.uri, self.bucket = uri, parts.netloc
        self.key = uri.removeprefix(f"s3://{parts.netloc}").lstrip("/")
        if not self.bucket or not self.key:
            raise invalid(uri, "s3://bucket/key is expected")
        custom = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        config = Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 2},  # fetch tries again, with a line in the log
            # A store at its own address rarely has a DNS name per bucket.
            s3={"addressing_style": "path" if custom else "auto"},
        )
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        # Without keys, boto3 would ask the node for its role: a model's author must not read with the node's rights.
        os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
        try:
            self.client: Any = boto3.session.Session().client("s3", region_name=region, config=config)
        except (aws.BotoCoreError, ValueError) as error:
            raise StageError(
                "SourceInvalid",
                f"the S3 client cannot be made: {error}",
                "Check AWS_ENDPOINT_URL and AWS_REGION in the Secret that spec.source.secretRef names.",
                "spec.source.secretRef",
            ) from error

    def list(self) -> "list[Remote]":
        """The object, or every object below the prefix."""
        try:
            if not self.key.endswith("/"):
                # Not HEAD: its answer has no body, and the store's reason is in the body.
                answer = self.client.get_object(Bucket=self.bucket, Key=self.key)
                answer["Body"].close()
                return [self._remote(MODEL_FILE, self.key, answer["ContentLength"])]
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.key)
            objects = [item for page in pages for item in page.get("Contents", ())]
        except Exception as error:
            raise self._known(error) from error
        files = [item for item in objects if not item["Key"].endswith("/")]  # consoles make empty "folder" objects
        if not files:
            raise not_found(self.uri, "no object has this prefix")
        if len(files) > _MAX_FILES:
            raise invalid(self.uri, f"the folder holds {len(files)} objects, a model has at most {_MAX_FILES}")
        return [self._remote(item["Key"].removeprefix(self.key), item["Key"], item["Size"]) for item in files]

    def _remote(self, path: str, key: str, count: int) -> Remote:
        return Remote(path, count, lambda: self._chunks(key))

    def _chunks(self, key: str) -> Generator[bytes, None, None]:
        try:
            body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"]
            with body:
                yield from body.iter_chunks(CHUNK)
        except GeneratorExit:
            raise
        except Exception as error:
            raise self._known(error) from error

    def _known(self, error: Exception) -> Exception:
        if isinstance(error, aws.ClientError):
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if code in _DENIED or status in (401, 403):  # first: some stores answer 404 to a key that they do not know
                return forbidden(self.uri, f"the store answers {code}")
            if code in _MISSING or status == 404:
                return not_found(self.uri, code)
            if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
                return UnreachableError(f"{self.uri}: the store answers {status} {code}")
            return StageError("SourceRejected", f"{self.uri}: {error}", "Check the URI and the region.", "spec.source")
        if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError | aws.CredentialRetrievalError):
            return forbidden(self.uri, f"no credentials: {error}")
        if isinstance(error, aws.ParamValidationError):
            return invalid(self.uri, str(error))
        if isinstance(error, aws.SSLError):
            return StageError(
                "SourceUntrusted",
                f"{self.uri}: {error}",
                "Give the store's certificate authority to the fetch container (AWS_CA_BUNDLE).",
                "spec.source.uri",
            )
        transport = (aws.BotoCoreError, urllib3.exceptions.HTTPError, OSError)
        return UnreachableError(f"{self.uri}: {error}") if isinstance(error, transport) else error
