"""Objects of an S3-compatible bucket: the calls that the store needs, and their errors in words."""

import base64
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as aws
import urllib3.exceptions
from botocore.config import Config

from onnxmodel_runtime.contract.store import Bucket
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources.web import may_pass
from onnxmodel_runtime.store.patience import MissingError, Patience, away, platforms

T = TypeVar("T")

_CHUNK = 1 << 20
_MISSING = {"404", "NoSuchKey", "NotFound"}
_REFUSED = {"ExpiredToken", "InvalidToken"}  # with the status 400
_SETTINGS = "settings.artifacts.s3"
_SECRET, _IDENTITY = f"the Secret that {_SETTINGS}.secretRef names", f"{_SETTINGS}.webIdentity"
_SERVICE, _EXCHANGE = "the token service", "AssumeRoleWithWebIdentity"
_TOKEN = "AWS_WEB_IDENTITY_TOKEN_FILE"
_TRUST = f"Let the role of {_IDENTITY} trust this issuer, subject and audience"


@dataclass(frozen=True, slots=True)
class Listed:
    """An object of a listing. name: its key, without the part that all have in common."""

    name: str
    bytes: int
    time: datetime


class Objects:
    """The objects of one model. Names are keys below its prefix."""

    def __init__(self, bucket: Bucket, seconds: float, pause: Callable[[float], None] = time.sleep) -> None:
        """seconds: how long to ask again while the store is away. Until then a pod costs less than its stage again."""
        self.place, self._patience = bucket, Patience(seconds, pause)
        # Without keys, boto3 would ask the node for its role.
        os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
        os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
        config = Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 2},
            s3={"addressing_style": "path" if bucket.endpoint else "auto"},
            # Not every store knows the checksums that boto3 would add. The digests are ours.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            self._client: Any = boto3.session.Session().client(
                "s3", endpoint_url=bucket.endpoint or None, region_name=bucket.region, config=config
            )
        except (aws.BotoCoreError, ValueError) as error:
            raise StageError(
                "StoreInvalid",
                f"cannot create the client of the artifact store: {error}",
                "Correct settings.artifacts.s3 in the operator's chart values.",
                _SETTINGS,
            ) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, name: str, most: int) -> bytes:
        """Return a small object. Raises MissingError, and StageError for one of more than `most` bytes."""

        def ask() -> bytes:
            with self._body(name) as body:
                content: bytes = body.read(most + 1)
            return content

        content = self._again(ask)
        if len(content) > most:
            raise damaged(f"{self.shown(name)} has more than {most} bytes")
        return content

    def download(self, name: str, sink: Callable[[], Callable[[bytes], object]], most: int) -> None:
        """Pass the bytes of an object to what `sink` returns, which is asked again for each attempt. Raises MissingError."""

        def ask() -> None:
            take, left = sink(), most
            with self._body(name) as body:
                for chunk in body.iter_chunks(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        return
                    take(chunk)
                    self._patience.moved(most - left)

        self._again(ask)

    def put(self, name: str, content: bytes) -> None:
        """Write a small object."""
        self._again(lambda: self._client.put_object(Bucket=self.place.bucket, Key=self._key(name), Body=content))

    def upload(self, name: str, file: BinaryIO) -> None:
        """Write an object from an open file, in parts if it is large. It appears when it is whole."""

        def ask() -> None:
            file.seek(0)
            total = 0

            def sent(count: int) -> None:  # less than none where a part starts again
                nonlocal total
                total += count
                self._patience.moved(total)

            # boto3 closes what it is given.
            with os.fdopen(os.dup(file.fileno()), "rb") as own:
                self._client.upload_fileobj(own, self.place.bucket, self._key(name), Callback=sent)

        self._again(ask)

    def list(self, below: str) -> dict[str, Listed]:
        """List the objects whose names begin with `below`, by the rest of the name."""

        def ask() -> dict[str, Listed]:
            start, found = self._key(below), {}
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.place.bucket, Prefix=start)
            for page in pages:
                for item in page.get("Contents", ()):
                    rest = item["Key"].removeprefix(start)
                    found[rest] = Listed(rest, item["Size"], item["LastModified"])
            return found

        return self._again(ask)

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        self._again(lambda: self._client.delete_object(Bucket=self.place.bucket, Key=self._key(name)))

    def shown(self, name: str) -> str:
        """Return the address of an object, for messages."""
        return f"s3://{self.place.bucket}/{self._key(name)}"

    def _key(self, name: str) -> str:
        return f"{self.place.prefix}/{name}"

    @contextlib.contextmanager
    def _body(self, name: str) -> Iterator[Any]:
        answer = self._client.get_object(Bucket=self.place.bucket, Key=self._key(name))
        with contextlib.closing(answer["Body"]) as body:
            yield body

    def _again(self, ask: Callable[[], T]) -> T:
        def known() -> T:
            try:
                return ask()
            except (
                aws.BotoCoreError,
                aws.ClientError,
                urllib3.exceptions.HTTPError,
                boto3.exceptions.Boto3Error,
                ConnectionError,
            ) as error:
                raise self._known(error) from error

        return self._patience.ask(known)

    def _known(self, error: Exception) -> Exception:
        if isinstance(error, boto3.exceptions.S3UploadFailedError) and isinstance(error.__cause__, Exception):
            error = error.__cause__
        store = f"the artifact store ({self.place.endpoint or 'AWS S3'}, bucket {self.place.bucket})"
        if isinstance(error, aws.ClientError):
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if error.operation_name == _EXCHANGE and may_pass(status):
                return away(f"{_SERVICE} returned {status} {code}", f"{_IDENTITY}.endpoint", what=_SERVICE)
            if error.operation_name == _EXCHANGE:
                said = error.response.get("Error", {}).get("Message", "")
                return platforms(f"{_SERVICE} refuses {_subject()}: {code} {said}".rstrip(), _TRUST, _SETTINGS)
            if code in _MISSING:
                return MissingError(code)
            if code == "NoSuchBucket":
                return platforms(f"{store} does not exist", "Create the bucket, or correct its name", _SETTINGS)
            if status in (401, 403) or code in _REFUSED:
                keys = f"Let the role of {_IDENTITY} read and write below the prefix"
                hint = keys if _has_role() else f"Correct the keys in {_SECRET}"
                return platforms(f"{store} refuses: {code}", hint, _SETTINGS)
            return away(f"{store} returned {status} {code}", f"{_SETTINGS}.endpoint")
        if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError):
            hint = f"Put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into {_SECRET}, in this namespace"
            return platforms(f"there are no credentials for {store}", hint, _SETTINGS)
        if isinstance(error, aws.SSLError):
            place = (
                f"the ConfigMap that {_IDENTITY}.caConfigMapRef names"
                if _has_role()
                else f"{_SECRET}, as CA_CERTIFICATES"
            )
            hint = f"Add its certificate authority in PEM to {place}"
            return platforms(f"{store} has a certificate that is not trusted: {error}", hint, _SETTINGS)
        if of_service(error, self.place.endpoint):
            return away(f"{_SERVICE} does not answer: {error}", f"{_IDENTITY}.endpoint", what=_SERVICE)
        return away(f"{store} does not answer: {error}", f"{_SETTINGS}.endpoint")


def of_service(error: Exception, store: str) -> bool:
    """Return whether a connection to the token service failed, where that is not the store itself."""
    asked = urlsplit(str(getattr(error, "kwargs", {}).get("endpoint_url", "")))
    service = urlsplit(os.environ.get("AWS_ENDPOINT_URL_STS", ""))
    if not _has_role() or asked[:2] == urlsplit(store)[:2]:
        return False
    return asked[:2] == service[:2] if service.netloc else asked.netloc.startswith("sts.")


def _has_role() -> bool:
    """Return whether the operator gave this container a token of the pod's account instead of keys."""
    return bool(os.environ.get(_TOKEN))


def _subject() -> str:
    """Name the account as the token does, which is what a role trusts. Only the service can tell that it is genuine."""
    try:
        part = Path(os.environ[_TOKEN]).read_text().split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return f"{claims['sub']} (issuer {claims['iss']}, audience {', '.join(claims['aud'])})"
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return "the pod's account"


def damaged(message: str) -> StageError:
    """Return the error for content that is not what was stored."""
    return StageError(
        "StoreDamaged",
        message,
        "Something else writes to the bucket. Restore the object; or, to make everything again, give the model another "
        "name, or change settings.artifacts.s3.prefix for all models.",
        _SETTINGS,
    )


def incomplete(message: str) -> StageError:
    """Return the error for content that the store lacks."""
    return StageError(
        "StoreIncomplete",
        message,
        "Something else deletes from the bucket, such as a lifecycle rule. Restore the objects; or, to make everything "
        "again, give the model another name, or change settings.artifacts.s3.prefix for all models.",
        _SETTINGS,
    )
