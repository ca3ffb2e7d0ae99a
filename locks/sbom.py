"""`make sbom`: the bill of materials of an image, in CycloneDX, from the lock that its Dockerfile installs.

It is the same for the same commit: no clock, no index and no installation is asked. The packages of the base image
(Python itself and Debian's) are not in a lock, so they are not in the bill either, and it says that it is incomplete.
"""

import argparse
import hashlib
import json
import sys
import tomllib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from locks import LOCKS, METADATA, ROOT, Lock
from locks.closure import Entry, entries, environments, graph, known, roots

PYTHON = "3.13"  # of the Dockerfiles' BASE_IMAGE


@dataclass(frozen=True)
class Image:
    """An image that is released: its repository's name, the end of its tag, and its lock."""

    name: str
    suffix: str
    path: str

    @property
    def lock(self) -> Lock:
        """The lock that its Dockerfile installs."""
        return next(lock for lock in LOCKS if lock.path == self.path)


IMAGES = {
    "operator": Image("onnxmodel-operator", "", "locks/operator.txt"),
    "runtime-cpu": Image("onnxmodel-runtime", "-cpu", "locks/runtime-cpu.txt"),
    "runtime-gpu": Image("onnxmodel-runtime", "-gpu", "locks/runtime-gpu.txt"),
}


def installed(image: Image, machine: str = "x86_64") -> dict[str, tuple[Entry | None, frozenset[str]]]:
    """Each release in the image by its name, with the names that it requires; those of "" are the project's own."""
    lock = image.lock
    if machine not in lock.machines:
        raise ValueError(f"{lock.path} is not for {machine}: choose one of {', '.join(lock.machines)}")
    *_, environment = environments(PYTHON, machine)
    wanted = roots(lock.source.read_text(), lock.extras, lock.groups)
    locked = entries(lock.text())
    return graph(locked, wanted, known(json.loads(METADATA.read_text())), environment, lock.glibc)


def bill(image: Image, machine: str = "x86_64") -> dict[str, Any]:
    """Make the bill of materials of an image for this machine."""
    found = installed(image, machine)
    own: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tag = f"{own['version']}{image.suffix}"
    root = f"{image.name}:{tag}"
    refs = {name: _purl(entry) for name, (entry, _) in found.items() if entry} | {"": root}
    body = {
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "container",
                "bom-ref": root,
                "name": image.name,
                "version": tag,
                "licenses": [{"license": {"id": own["license"]}}],
            },
            "properties": [
                {"name": "onnx-operator.dev:lock", "value": image.path},
                {"name": "onnx-operator.dev:python", "value": PYTHON},
                {"name": "onnx-operator.dev:machine", "value": machine},
            ],
        },
        "components": [_component(entry) for _, (entry, _) in sorted(found.items()) if entry],
        "dependencies": [
            {"ref": refs[name], "dependsOn": sorted(refs[other] for other in others)}
            for name, (_, others) in sorted(found.items())
        ],
        # Of the image itself: the base image's packages are missing.
        "compositions": [{"aggregate": "incomplete", "assemblies": [root]}],
    }
    serial = uuid.UUID(bytes=hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()[:16], version=4)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        **body,
    }


def _component(entry: Entry) -> dict[str, Any]:
    """One release, with the digest of every file that the lock allows: which of them is installed, the machine says."""
    return {
        "type": "library",
        "bom-ref": _purl(entry),
        "name": entry.name,
        "version": entry.version,
        "purl": _purl(entry),
        "externalReferences": [
            {
                "type": "distribution",
                "url": f"https://pypi.org/project/{entry.name}/{entry.version}/",
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in sorted(entry.hashes)],
            }
        ],
    }


def _purl(entry: Entry) -> str:
    return f"pkg:pypi/{entry.name}@{entry.version.replace('+', '%2B')}"


def main(words: Sequence[str] | None = None) -> int:
    """Print the bill of materials of one image."""
    parser = argparse.ArgumentParser(prog="python -m locks.sbom", description=__doc__)
    parser.add_argument("image", choices=IMAGES)
    parser.add_argument("--machine", default="x86_64", help="x86_64 or aarch64")
    asked = parser.parse_args(words)
    try:
        print(json.dumps(bill(IMAGES[asked.image], asked.machine), indent=2))
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
