"""s3://bucket/key, with boto3: credentials, region and endpoint come from the environment (AWS_*)."""

import os
from collections.abc import Generator
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as aws
import urllib3.exceptions
from botocore import UNSIGNED
from botocore.config import Config

from onnxmodel_runtime.contract.fetch import IDENTITY, IDENTITY_USED
from onnxmodel_runtime.contract.volume import MODEL_FILE
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources import network
from onnxmodel_runtime.sources.source import (
    CHUNK,
    MAX_FILES,
    SECRET,
    Body,
    Remote,
    UnreachableError,
    forbidden,
    invalid,
    not_found,
    rejected,
    shown,
    untrusted,
)

_MISSING = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
_DENIED = {"401", "403", "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_DENIED |= {
    "InvalidToken",
    "AccountProblem",
    "AllAccessDisabled",
    "TokenRefreshRequired",
    "InvalidClientTokenId",
    "XAdminUserNotFound",
    "InvalidIdentityToken",
    "ExpiredTokenException",
    "IDPRejectedClaim",
}


class S3Source:
    """An object, or a prefix that ends in "/"."""

    loose = False

    def __init__(self, uri: str, local: bool = False) -> None:
        parts = urlsplit(uri, allow_fragments=False)
        # A key may hold "?", which is no query here.
        self.uri, self.bucket = uri, parts.netloc
        self.key = uri.removeprefix(f"s3://{parts.netloc}").lstrip("/")
        if not self.bucket or not self.key:
            raise invalid(uri, "expected s3://bucket/key")
        custom = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        config = Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 2},  # fetch tries again, with a line in the log
            # A store at its own address rarely has a DNS name per bucket.
            s3={"addressing_style": "path" if custom else "auto"},
            # No key and no identity of the pod's account: a public bucket.
            signature_version=None if local or os.environ.get("AWS_ACCESS_KEY_ID") or _has_identity() else UNSIGNED,
        )
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        # Without keys, boto3 would ask the node for its role: a model's author must not read with the node's rights.
        os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
        if not local:  # a profile names programs that boto3 would run for their credentials; a Secret has keys
            os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
        try:
            self.client: Any = boto3.session.Session().client("s3", region_name=region, config=config)
        except (aws.BotoCoreError, ValueError) as error:
            raise StageError(
                "SourceInvalid",
                f"cannot create the S3 client: {error}",
                "Check AWS_ENDPOINT_URL and AWS_REGION in the Secret that spec.source.secretRef names.",
                SECRET,
            ) from error
        # Each request, whoever chose its address; a proxy would resolve the name where the guard does not see it.
        self.client.meta.events.register("before-send.s3", _check)
        if custom:  # AWS redirects to another of its regions; boto3 follows any other store round and round
            self.client.meta.events.register_first("needs-retry.s3", _refuse_redirects)

    @property
    def resolved(self) -> str:
        """The URI."""
        return self.uri

    def list(self) -> "list[Remote]":
        """List the object, or every object below the prefix."""
        try:
            if not self.key.endswith("/"):
                # Not HEAD: its answer has no body, and the store's reason is in the body.
                answer = self.client.get_object(Bucket=self.bucket, Key=self.key)
                answer["Body"].close()
                return [self._remote(MODEL_FILE, self.key, answer["ContentLength"])]
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.key)
            objects = (item for page in pages for item in page.get("Contents", ()))
            # Consoles make empty "folder" objects, so that there may be more of them; not without end.
            listed = list(islice(objects, 2 * MAX_FILES))
        except Exception as error:
            raise self._known(error) from error
        files = [item for item in listed if not item["Key"].endswith("/")]
        if not files:
            raise not_found(self.uri, "no object has this prefix")
        if len(files) > MAX_FILES:
            raise invalid(self.uri, f"the folder contains more than {MAX_FILES} objects")
        return [self._remote(item["Key"].removeprefix(self.key), item["Key"], item["Size"]) for item in files]

    def _remote(self, path: str, key: str, count: int) -> Remote:
        tag = ""

        def open_at(start: int) -> Body:
            nonlocal tag
            if start and tag:
                try:
                    answer = self.client.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={start}-", IfMatch=tag)
                    status = answer["ResponseMetadata"]["HTTPStatusCode"]
                    return Body(start if status == 206 else 0, self._chunks(answer["Body"]), count)
                except aws.ClientError as error:  # it changed, or ended: from the beginning
                    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in (412, 416):
                        raise self._known(error) from error
                except Exception as error:
                    raise self._known(error) from error
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=key)
            except Exception as error:
                raise self._known(error) from error
            tag = answer.get("ETag", "")
            return Body(0, self._chunks(answer["Body"]), count)

        return Remote(path, count, open_at)

    def _chunks(self, body: Any) -> Generator[bytes, None, None]:
        try:
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
                return forbidden(self.uri, f"the store returned {code}")
            if code in _MISSING or status == 404:
                return not_found(self.uri, code)
            if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
                return UnreachableError(f"{self.uri}: the store returned {status} {code}")
            return rejected(f"{self.uri}: {error}", "Check the URI and the region.")
        if isinstance(error, aws.NoCredentialsError):
            return forbidden(self.uri, "there are no credentials")
        if isinstance(error, aws.PartialCredentialsError | aws.CredentialRetrievalError):
            return forbidden(self.uri, f"no credentials: {error}")
        if isinstance(error, aws.ParamValidationError):
            return invalid(self.uri, str(error))
        if isinstance(error, aws.SSLError):
            return untrusted(self.uri, error)
        transport = (aws.BotoCoreError, urllib3.exceptions.HTTPError, OSError)
        return UnreachableError(f"{self.uri}: {error}") if isinstance(error, transport) else error


def _has_identity() -> bool:
    """Return whether boto3 may use the role of the pod's own account. A namespace's default account may have one too."""
    return os.environ.get(IDENTITY) == IDENTITY_USED


def _refuse_redirects(response: Any = None, **_options: Any) -> None:
    if response is not None and 300 <= response[0].status_code < 400 and response[0].status_code != 304:
        target = shown(str(response[0].headers.get("Location")))
        raise rejected(f"the store redirects to {target}", "Use the store's own address (AWS_ENDPOINT_URL).")


def _check(request: Any, **_options: Any) -> None:
    network.check_url(request.url)
