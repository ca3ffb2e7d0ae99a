"""The project's images, and those of the S3 gateway and of Triton that the tests use.

An image's tag is the digest of all that goes into it, so that "is it built, is it loaded" is a question of names:

    operator      localhost/onnxmodel-operator:<digest>       OPERATOR_IMAGE
    runtime-cpu   localhost/onnxmodel-runtime:<digest>-cpu    RUNTIME_IMAGE
    versitygw     localhost/versitygw:<version>               VERSITYGW_IMAGE
    triton        localhost/onnxmodel-test-triton:<digest>    TRITON_IMAGE     for tests alone

The variables name images that a cluster of yours can pull (CLUSTER=current): nothing is built or loaded for them.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import builder
from .artifacts import artifact, digest
from .golang import program, version
from .paths import REPOSITORY
from .scratchimage import archive as scratch_archive
from .steps import step


@dataclass(frozen=True)
class Image:
    """An image under the name by which pods ask for it."""

    role: str
    name: str
    archive: Callable[[], Path] | None  # builds it when needed; None for an image that the cluster pulls


@dataclass(frozen=True)
class _Recipe:
    role: str
    repository: str
    dockerfile: str
    contents: tuple[str, ...]  # what the Dockerfile copies: nothing else reaches the builder, or changes the tag
    variant: str = ""


_RECIPES = (
    _Recipe(
        "operator",
        "localhost/onnxmodel-operator",
        "operator/Dockerfile",
        (
            "locks/operator.txt",
            "operator/onnxmodel_operator",
            "page/onnxmodel_page",
            "runtime-image/onnxmodel_runtime/__init__.py",
            "runtime-image/onnxmodel_runtime/contract",
        ),
    ),
    _Recipe(
        "runtime-cpu",
        "localhost/onnxmodel-runtime",
        "runtime-image/Dockerfile",
        ("locks/runtime-cpu.txt", "runtime-image/onnxmodel_runtime", "cli/onnxmodel_cli"),
        variant="cpu",
    ),
)
# NVIDIA's image cannot be pulled everywhere: the tests' own has the same server. No demo needs it.
_TRITON = _Recipe(
    "triton",
    "localhost/onnxmodel-test-triton",
    "tests/triton/Dockerfile",
    ("locks/runtime-cpu.txt", "tests/triton/wheels.txt", "tests/triton/backend"),
)
_EPOCH = 1_577_836_800  # 2020-01-01: one time for every file, so that the builder's cache sees content alone
_KEPT = 3  # archives are large: those of this many newest sources stay


def images(*, tests: bool = False) -> list[Image]:
    """The images with the names that the present sources give them; tests: those too that only tests need. Builds nothing."""
    gateway = f"localhost/versitygw:{version('versitygw')}"
    return [
        *(_project_image(recipe) for recipe in (*_RECIPES, *((_TRITON,) if tests else ()))),
        _image(
            "versitygw", gateway, lambda: scratch_archive(gateway, program("versitygw"), "/versitygw", "10001:10001")
        ),
    ]


def _image(role: str, name: str, archive: Callable[[], Path]) -> Image:
    given = os.environ.get(f"{role.partition('-')[0].upper()}_IMAGE")
    return Image(role, given, None) if given else Image(role, name, archive)


def _project_image(recipe: _Recipe) -> Image:
    key = digest(*(REPOSITORY / path for path in (recipe.dockerfile, *recipe.contents)), repr(recipe), builder.recipe())
    name = f"{recipe.repository}:{key[:12]}{recipe.variant and f'-{recipe.variant}'}"

    def archive() -> Path:
        return artifact("images", recipe.role, key, lambda target: _build(recipe, name, target), kept=_KEPT)

    return _image(recipe.role, name, archive)


def _build(recipe: _Recipe, name: str, target: Path) -> None:
    with step(f"{name}: building", "seconds; minutes if the lock has changed"), tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        for path in (recipe.dockerfile, *recipe.contents):
            _copy(REPOSITORY / path, context / path)
        arguments = {"VARIANT": recipe.variant} if recipe.variant else {}
        builder.build(name, context / recipe.dockerfile, context, arguments, target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
    for path in (target, *target.rglob("*")) if target.is_dir() else (target,):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (_EPOCH, _EPOCH))
