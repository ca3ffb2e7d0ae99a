"""The base of the project's images where no registry is needed: a minimal Debian with Python, from apt alone."""

import os
from pathlib import Path

from .artifacts import artifact, digest
from .shell import run, succeeds
from .steps import step

_SUITE = "trixie"
_PACKAGES = "python3,python3-venv,ca-certificates"
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")  # where Debian and its descendants keep it

# Root needs no user namespace, and a container without a network of its own installs packages through the machine's.
BUILDAH = {"BUILDAH_ISOLATION": "chroot"}


def base_image() -> str:
    """Name of the base image in buildah's store, made when it is not there."""
    key = recipe()
    name = f"localhost/onnxmodel-base:{key[:12]}"
    if not succeeds("buildah", "inspect", "--type", "image", name):
        root = artifact("base", "debian", key, _bootstrap)
        with step("base image: importing"):
            _commit(root, name)
    return name


def recipe() -> str:
    """Digest of all that the base image is made of."""
    return digest(_SUITE, _PACKAGES, _trust(), Path(__file__))


def _bootstrap(target: Path) -> None:
    with step(f"base image: bootstrapping Debian {_SUITE}", "about 20 s"):
        tar = target.with_suffix(".tar")  # mmdebstrap chooses the format by the suffix
        run(
            "mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}",
            '--customize-hook=rm -rf "$1"/usr/share/doc/* "$1"/usr/share/man/* "$1"/usr/share/locale/*', _SUITE, tar,
        )  # fmt: skip
        tar.rename(target)


def _commit(root: Path, name: str) -> None:
    container = run("buildah", "from", "scratch", env=BUILDAH).strip()
    try:
        run("buildah", "add", "--quiet", container, root, "/", env=BUILDAH)
        if _trust():
            # Behind a proxy that opens TLS, package installs inside a build must trust what the machine trusts.
            run("buildah", "copy", "--quiet", container, _bundle(), str(_BUNDLE), env=BUILDAH)
        run("buildah", "config", "--env", f"SSL_CERT_FILE={_BUNDLE}", "--cmd", "python3", container, env=BUILDAH)
        run("buildah", "commit", "--quiet", container, name, env=BUILDAH)
    finally:
        run("buildah", "rm", container)


def _bundle() -> Path:
    return Path(os.environ.get("SSL_CERT_FILE") or _BUNDLE)


def _trust() -> bytes:
    return _bundle().read_bytes() if _bundle().is_file() else b""
