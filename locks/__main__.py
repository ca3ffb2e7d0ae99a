"""`make lock`: resolve every lock again, and write down what its releases require.

An index is asked by uv alone, and for the wheels' own metadata. No address of it is written: any mirror serves.
Versions that are locked stay where they still fit; `python -m locks --upgrade` takes the newest.
"""

import argparse
import email.parser
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from locks import LOCKS, MACHINES, METADATA, PYTHONS, ROOT, Lock
from locks.closure import entries

_UV = str(Path(sys.executable).with_name("uv"))
_COMPILE = (
    "pip",
    "compile",
    "--quiet",
    "--universal",
    f"--python-version={PYTHONS[0]}",
    "--no-header",
    "--no-annotate",
)
_FILE = ("--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-emit-package=onnxmodel-operator")


def main() -> int:
    """Write the locks and metadata.json."""
    parser = argparse.ArgumentParser(prog="python -m locks", description=__doc__)
    parser.add_argument(
        "--upgrade", action="store_true", help="take the newest releases, regardless of the locked ones"
    )
    upgrade = ["--upgrade"] if parser.parse_args().upgrade else []
    kept = json.loads(METADATA.read_text()) if METADATA.is_file() else {}
    found: dict[str, Any] = {}
    for lock in LOCKS:
        print(f"{lock.path} ...", flush=True)
        _uv(*_COMPILE, *_FILE, *_options(lock), *upgrade, str(lock.source), "-o", str(ROOT / lock.path))
        keys = {entry.key for entry in entries(lock.text())}
        found |= {key: kept[key] for key in keys & kept.keys()}
        if missing := keys - found.keys():
            found |= _describe(lock, missing)
    METADATA.write_text("{\n" + ",\n".join(_line(key, found[key]) for key in sorted(found)) + "\n}\n")
    return 0


def _options(lock: Lock) -> Iterable[str]:
    yield from (f"--extra={extra}" for extra in lock.extras)
    yield from (f"--group={group}" for group in lock.groups)
    if lock.like:
        yield f"--constraints={ROOT / lock.like}"
    if lock.alone:
        yield "--no-deps"


def _describe(lock: Lock, keys: set[str]) -> dict[str, list[dict[str, Any]]]:
    """What the wheels of these entries say."""
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "pylock.toml"  # beside the names and hashes it has the wheels' addresses
        _uv(*_COMPILE, "--no-deps", "--format=pylock.toml", str(ROOT / lock.path), "-o", str(listing))
        packages = tomllib.loads(listing.read_text())["packages"]
    asked = {key: package for package in packages if (key := f"{package['name']}=={package['version']}") in keys}
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(asked, pool.map(_release, asked.values()), strict=True))


def _release(package: dict[str, Any]) -> list[dict[str, Any]]:
    """The release's wheels for Linux, those together that say the same."""
    groups: dict[str, dict[str, Any]] = {}
    for wheel in sorted(package.get("wheels", ()), key=_name):
        if _of_linux(_name(wheel)):
            said = _metadata(wheel)
            groups.setdefault(json.dumps(said), {"wheels": [], **said})["wheels"].append(_name(wheel))
    return list(groups.values())


def _metadata(wheel: dict[str, Any]) -> dict[str, Any]:
    """What a wheel requires: from the file that an index keeps beside it, or from the wheel where there is none."""
    try:
        with urllib.request.urlopen(f"{wheel['url']}.metadata") as answer:
            text = answer.read()
    except urllib.error.HTTPError:
        with urllib.request.urlopen(wheel["url"]) as answer, zipfile.ZipFile(io.BytesIO(answer.read())) as archive:
            text = archive.read(next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA")))
    message = email.parser.BytesParser().parsebytes(text, headersonly=True)
    return {
        "requires": [str(line) for line in message.get_all("Requires-Dist", [])],
        "python": str(message.get("Requires-Python", "")),
    }


def _name(wheel: dict[str, Any]) -> str:
    return str(wheel.get("name") or wheel["url"].rpartition("/")[2])


def _of_linux(name: str) -> bool:
    """Whether a claimed interpreter on a claimed machine could take it."""
    python, abi, platform = name.removesuffix(".whl").rsplit("-", 3)[1:]
    old = re.fullmatch(r"cp3(\d+)", python) and abi != "abi3" and f"3.{python[3:]}" not in PYTHONS
    free_threaded = abi.endswith("t") and abi.startswith("cp")
    glibc = platform == "any" or ("linux" in platform and "musl" not in platform and platform.endswith(MACHINES))
    return glibc and not old and not free_threaded and not python.startswith("pp")


def _line(key: str, release: list[dict[str, Any]]) -> str:
    return f"{json.dumps(key)}: {json.dumps(release, ensure_ascii=False)}"


def _uv(*words: str) -> None:
    if not shutil.which(_UV):
        raise SystemExit("uv is not in this environment: make setup")
    subprocess.run([_UV, *words], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
