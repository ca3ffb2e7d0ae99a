"""oci://HOST/REPOSITORY[:TAG|@DIGEST]: an artifact of a registry, as ORAS, KitOps and CNCF ModelPack make them.

A tag is resolved to its manifest's digest first; every blob is compared with the digest by which the manifest knows it.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from onnxmodel_runtime.contract.volume import MODEL_FILE
from onnxmodel_runtime.sources.oci_login import Login
from onnxmodel_runtime.sources.source import MAX_FILES, Remote, invalid, not_found, rejected
from onnxmodel_runtime.sources.web import Web, WebFile, WebReply, loopback, origin, read, variable

_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_REFERENCE = re.compile(
    r"oci://(?P<host>[A-Za-z0-9.-]+(?::\d+)?|\[[0-9a-fA-F:.]+\](?::\d+)?)/"
    r"(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?/?"
)
_TITLE = "org.opencontainers.image.title"
_UNPACK = "io.deis.oras.content.unpack"
_FILEPATH = "org.cncf.model.filepath"
_MODELPACK = re.compile(r"application/vnd\.cncf\.model\.(?P<kind>[a-z.]+)\.v1\.(?P<form>raw|tar|tar\+gzip|tar\+zstd)")
_KITOPS = re.compile(r"application/vnd\.kitops\.modelkit\.(?P<kind>[a-z.]+)\.v1\.(?P<form>tar|tar\+gzip|tar\+zstd)")
_PACKS = {"tar": "tar", "tar+gzip": "tar.gz", "raw": ""}
_WEIGHTS = {"weight", "weight.config", "model", "modelpart", "model.part"}  # the rest is documentation, code and data
_MANIFEST_BYTES = 4 << 20


class OciSource:
    """An artifact. OCI_USERNAME and OCI_PASSWORD are for the registry of `home`.

    OCI_PLAIN_HTTP_HOSTS: registries (host or host:port, separated by commas) that are asked by http.
    """

    loose = True

    def __init__(self, uri: str, home: str = "") -> None:
        found = _REFERENCE.fullmatch(uri)
        if not found:
            raise invalid(uri, "expected oci://HOST/REPOSITORY:TAG or oci://HOST/REPOSITORY@sha256:DIGEST")
        self.uri, self.host, self.repository = uri, found["host"].lower(), found["repository"]
        self.reference = found["digest"] or found["tag"] or "latest"
        self.digest = found["digest"] or ""
        bare = self.host.rpartition(":")[0] if re.search(r":\d+$", self.host) else self.host
        plain = [name.strip().lower() for name in variable("OCI_PLAIN_HTTP_HOSTS").split(",")]
        scheme = "http" if {self.host, bare} & set(plain) or loopback(bare.strip("[]")) else "https"
        address = "registry-1.docker.io" if self.host == "docker.io" else self.host
        self._base = f"{scheme}://{address}/v2/{self.repository}"
        registry = _REFERENCE.fullmatch(home or uri)
        ours = registry is not None and registry["host"].lower() == self.host
        try:
            origin(urlsplit(self._base))
        except ValueError as error:  # a port that is none
            raise invalid(uri, str(error)) from error
        self._login = Login(uri, self._base, self.repository, with_password=ours)
        self._web = Web(uri, self._login.authorization)

    @property
    def resolved(self) -> str:
        """The URI by its digest."""
        return f"oci://{self.host}/{self.repository}@{self.digest}" if self.digest else self.uri

    def list(self) -> "list[Remote]":
        """List the artifact's files. Layers without a part of a model are left out."""
        manifest = self._manifest(self.reference)
        if "manifests" in manifest:
            entries = _objects(manifest.get("manifests"))
            if len(entries) != 1:
                raise invalid(self.uri, f"it is an index of {len(entries)} artifacts: use the digest of one of them")
            manifest = self._manifest(_digest(self.uri, entries[0]))
        layers = _objects(manifest.get("layers"))
        if len(layers) > MAX_FILES:
            raise invalid(
                self.uri, f"the artifact contains {len(layers)} layers, but a model may have at most {MAX_FILES}"
            )
        remotes = [remote for layer in layers if (remote := self._remote(layer, len(layers))) is not None]
        if not remotes:
            types = ", ".join(sorted({str(layer.get("mediaType")) for layer in layers})[:5]) or "no layers"
            raise not_found(self.uri, f"the artifact contains no file with a known name; it contains {types}")
        return remotes

    def _manifest(self, reference: str) -> dict[str, Any]:
        reply = self._get(f"{self._base}/manifests/{reference}", {"Accept": ", ".join(_MANIFESTS)})
        content = read(self._web.checked(reply), _MANIFEST_BYTES)
        actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
        expected = (
            reference if reference.startswith("sha256:") else reply.response.headers.get("Docker-Content-Digest", "")
        )
        if expected.startswith("sha256:") and expected != actual:
            raise rejected(
                f"{self.uri}: the manifest has the digest {actual}, not {expected}", "Push the artifact again."
            )
        self.digest = self.digest or actual
        try:
            manifest = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise rejected(f"{self.uri}: the manifest is not JSON", "Use the URI of a registry.") from error
        if not isinstance(manifest, dict):
            raise rejected(f"{self.uri}: the manifest is not a JSON object", "Use the URI of a registry.")
        return manifest

    def _remote(self, layer: dict[str, Any], count: int) -> Remote | None:
        media = str(layer.get("mediaType", ""))
        notes = layer.get("annotations")
        notes = notes if isinstance(notes, dict) else {}
        title = str(notes.get(_TITLE) or notes.get(_FILEPATH) or "")
        pack = ""
        if typed := _MODELPACK.fullmatch(media) or _KITOPS.fullmatch(media):
            if typed["kind"] not in _WEIGHTS:
                return None
            if typed["form"] not in _PACKS:
                raise invalid(self.uri, f"a layer is packed as {typed['form']}; only tar and tar+gzip are supported")
            pack = _PACKS[typed["form"]]
            title = title or ("" if count > 1 else MODEL_FILE)
        elif str(notes.get(_UNPACK, "")).lower() == "true":
            pack = "tar.gz" if media.endswith(("gzip", ".gz")) else "tar"
        if not title and not pack:
            return None
        length = layer.get("size")
        digest = _digest(self.uri, layer)
        url = f"{self._base}/blobs/{digest}"
        file = WebFile(lambda headers: self._get(url, headers), self._web, constant=True)
        known = length if isinstance(length, int) and length >= 0 else -1
        return Remote(title or digest[7:19], known, file.open, digest.removeprefix("sha256:"), pack)

    def _get(self, url: str, headers: Mapping[str, str]) -> WebReply:
        return self._login.through(url, lambda: self._web.get(url, headers))


def _objects(value: Any) -> "list[dict[str, Any]]":
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _digest(uri: str, entry: dict[str, Any]) -> str:
    digest = str(entry.get("digest", ""))
    if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
        raise invalid(uri, f"the manifest uses the digest {digest[:100]!r}; only sha256 is supported")
    return digest
