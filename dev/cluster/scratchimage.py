"""Images of one static program and nothing else, written without any builder. The same program gives the same bytes."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

from .artifacts import artifact, digest

_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def archive(image: str, binary: Path, entrypoint: str, user: str = "") -> Path:
    """Path of an archive, as `docker load` and containerd read it, of an image that runs `binary` as `entrypoint`."""

    def write(target: Path) -> None:
        layer = _tar({entrypoint.lstrip("/"): (binary.read_bytes(), 0o755)})
        config = json.dumps(
            {
                "architecture": _ARCHITECTURE,
                "os": "linux",
                "config": {"Entrypoint": [entrypoint], "User": user},
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            }
        ).encode()
        manifest = json.dumps([{"Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"]}]).encode()
        target.write_bytes(
            _tar({"manifest.json": (manifest, 0o644), "config.json": (config, 0o644), "layer.tar": (layer, 0o644)})
        )

    name = image.rpartition("/")[2].partition(":")[0]
    return artifact("images", name, digest(image, binary.name, entrypoint, user, Path(__file__)), write)


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
