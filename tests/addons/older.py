"""An older version of the project: its chart and its images, from the history of this clone."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from dev.platform import ROOT, Platform

BEFORE_TAGS = "d23ff8b443752725924909c6fe32bf03ad8845a7"
"""Where there is no tag of a release: before the chart had a schema, alerts and a page."""
_BUILD = """
import json
from dev.cluster import images

made = {one.role: (one.name, str(one.archive())) for one in images.images() if one.role in ("operator", "runtime-cpu")}
print(json.dumps(made))
"""


def commit() -> str | None:
    """The newest tag of a release; before there is one, a commit. None in a clone without it."""
    tags = _git("tag", "--list", "v*", "--sort=-version:refname").decode().split()
    found = tags[0] if tags else BEFORE_TAGS
    known = subprocess.run(["git", "cat-file", "-e", f"{found}^{{commit}}"], cwd=ROOT, check=False, capture_output=True)
    return found if known.returncode == 0 else None


def check_out(version: str, folder: Path) -> Path:
    """The files of a version, without its history."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", version))) as archive:
        archive.extractall(folder, filter="data")
    return folder


def load_images(platform: Platform, older: Path) -> dict[str, str]:
    """Build its images by its own recipes, and load them into the cluster. Returns their names by role."""
    command = [sys.executable, "-c", _BUILD]
    environment = {**os.environ, "PYTHONPATH": str(older)}
    done = subprocess.run(command, cwd=older, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.splitlines()[-1])
    for name, archive in made.values():
        platform.cluster.load(name, Path(archive))
    return {role: name for role, (name, _) in made.items()}


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout
