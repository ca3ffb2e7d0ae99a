"""Builds an image from a Dockerfile: with the docker engine where one answers, else with buildah and no registry."""

from collections.abc import Mapping
from pathlib import Path

from . import baseimage, packages
from .shell import run, succeeds


def docker_answers() -> bool:
    """Return whether a docker engine runs here; the client alone is not enough."""
    try:
        return succeeds("docker", "info")
    except FileNotFoundError:
        return False


def recipe() -> str:
    """Digest of what an image depends on beside its Dockerfile and sources: the base."""
    return "docker" if docker_answers() else baseimage.recipe()


def build(name: str, dockerfile: Path, context: Path, arguments: Mapping[str, str], archive: Path) -> None:
    """Build the image `name` and write it to `archive`, as `docker save` does."""
    if docker_answers():
        # The Dockerfile's own default base, from the public registry.
        run("docker", "build", *_words(arguments), "--tag", name, "--file", dockerfile, context)
        run("docker", "save", "--output", archive, name)
        return
    _buildah(*_words(arguments), "--tag", name, "--file", dockerfile, context)
    run("buildah", "push", "--quiet", name, f"docker-archive:{archive}:{name}", env=baseimage.BUILDAH)


def files(context: Path, folder: Path) -> None:
    """Build the Dockerfile in `context` and write the files of its last stage to `folder`."""
    to = f"type=local,dest={folder}"
    if docker_answers():
        run("docker", "build", "--output", to, context)
    else:
        _buildah("--output", to, context)


def save(name: str, archive: Path) -> None:
    """Write an image of the builder's store to an archive."""
    if docker_answers():
        run("docker", "save", "--output", archive, name)
    else:
        run("buildah", "push", "--quiet", name, f"docker-archive:{archive}:{name}", env=baseimage.BUILDAH)


def _buildah(*words: str | Path) -> None:
    packages.ensure(packages.IMAGES)
    # --layers: the layer with the dependencies is built again only when the lock changed.
    run("buildah", "build", "--layers", "--network=host", "--pull-never", "--format=docker",
        *_words({"BASE_IMAGE": baseimage.base_image()}), *words, env=baseimage.BUILDAH)  # fmt: skip


def _words(arguments: Mapping[str, str]) -> list[str]:
    return [f"--build-arg={key}={value}" for key, value in arguments.items()]
