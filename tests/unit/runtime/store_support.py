"""A real S3 gateway on this machine for the tests of the store: the one that the local cluster has."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from dev.cluster.golang import program
from onnxmodel_runtime.contract.fetch import SECRET_PREFIX
from onnxmodel_runtime.contract.store import Bucket

KEYS = {"AWS_ACCESS_KEY_ID": "platform", "AWS_SECRET_ACCESS_KEY": "platform-secret"}
SECRET = {f"{SECRET_PREFIX}{name}": value for name, value in KEYS.items()}


@dataclass
class Gateway:
    """A running gateway."""

    folder: Path
    port: int
    process: Any = None
    _client: Any = None
    _names: int = field(default=0)

    def start(self) -> None:
        """Start it, with what it held before."""
        words = [str(program("versitygw")), f"--port=127.0.0.1:{self.port}", "--region=us-east-1", "posix"]
        keys = {"ROOT_ACCESS_KEY": KEYS["AWS_ACCESS_KEY_ID"], "ROOT_SECRET_KEY": KEYS["AWS_SECRET_ACCESS_KEY"]}
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen([*words, str(data)], env={**os.environ, **keys}, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.02)
        raise AssertionError("the gateway does not start")

    def stop(self) -> None:
        """Stop it, as an outage does."""
        self.process.terminate()
        self.process.wait()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> Any:
        """A client with all rights."""
        self._client = self._client or boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )
        return self._client

    def model(self) -> Bucket:
        """The place of a model that has nothing yet."""
        self._names += 1
        return Bucket("artifacts", f"team-a/model-{self._names}", self.endpoint)

    def keys(self, bucket: Bucket) -> list[str]:
        """The keys of a model, without its prefix."""
        listed = self.client.list_objects_v2(Bucket=bucket.bucket, Prefix=f"{bucket.prefix}/")
        return [item["Key"].removeprefix(f"{bucket.prefix}/") for item in listed.get("Contents", ())]


@contextlib.contextmanager
def gateway(folder: Path) -> Iterator[Gateway]:
    """Run a gateway with an empty bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = Gateway(folder, port)
    running.start()
    try:
        running.client.create_bucket(Bucket="artifacts")
        yield running
    finally:
        running.client.close()
        running.stop()
