"""`make audit`: what is known against the releases in the images' locks, by pip-audit from the advisories of OSV.

Exit status: 0 if each release was looked up and nothing is known against it, 1 if something is, 2 if no service has
answered for all of them: what nobody answered has not passed. ONNXMODEL_OSV_URL names another service with OSV's API.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from locks.closure import Entry
from locks.sbom import IMAGES, installed

OSV = "https://api.osv.dev/v1/query"
ACCEPTED: Mapping[str, str] = {}
"""Advisories that concern nothing here, by their id, each with the reason."""


class NotAudited(Exception):
    """Raised when a release was not looked up."""


def main() -> int:
    """Audit every release of every image, and print what is known against them."""
    entries = {entry.key: entry for image in IMAGES.values() for entry, _ in installed(image).values() if entry}
    try:
        found = problems(ask(entries, os.environ.get("ONNXMODEL_OSV_URL") or OSV), entries, ACCEPTED)
    except NotAudited as error:
        print(f"not audited: {error}", file=sys.stderr)
        return 2
    print("\n".join(found) or f"nothing is known against the {len(entries)} releases of {', '.join(IMAGES)}")
    return 1 if found else 0


def ask(entries: Mapping[str, Entry], url: str) -> dict[str, Any]:
    """Let pip-audit look up these releases, and return its report. Raises NotAudited if it has none."""
    with tempfile.TemporaryDirectory() as folder:
        lines, report = Path(folder) / "lock.txt", Path(folder) / "report.json"
        lines.write_text("".join(_line(entry) for _, entry in sorted(entries.items())))
        command = [
            *(sys.executable, "-m", "pip_audit", f"--requirement={lines}", "--require-hashes", "--disable-pip"),
            *("--vulnerability-service=osv", f"--osv-url={url}", f"--cache-dir={folder}/cache"),
            *("--format=json", f"--output={report}", "--progress-spinner=off", "--timeout=30"),
        ]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        # It writes a report both when it found something (1) and when not (0), and none when it failed (1 too).
        if not report.is_file() or not (text := report.read_text()):
            said = ended.stderr.strip().splitlines() or [f"pip-audit ended with {ended.returncode}"]
            raise NotAudited(f"{url} did not answer: {said[-1]}")
    answer: dict[str, Any] = json.loads(text)
    return answer


def problems(report: Mapping[str, Any], asked: Collection[str], accepted: Mapping[str, str]) -> list[str]:
    """Return a line for each advisory that is not accepted. Raises NotAudited if a release is not in the report."""
    looked_up = {
        f"{item['name']}=={item['version']}": item["vulns"] for item in report["dependencies"] if "vulns" in item
    }
    if missing := sorted(set(asked) - looked_up.keys()):
        raise NotAudited(f"no answer for {', '.join(missing)}")
    found, used = [], set()
    for key, advisories in sorted(looked_up.items()):
        for advisory in advisories:
            known = {advisory["id"], *advisory["aliases"]}
            used |= known & accepted.keys()
            if not known & accepted.keys():
                fixed = ", ".join(advisory["fix_versions"]) or "no release yet"
                aliases = "".join(f", {alias}" for alias in sorted(advisory["aliases"]))
                found.append(f"{key}: {advisory['id']}{aliases}; fixed in {fixed}")
    found += [f"{name} is accepted, but no longer reported: remove it" for name in sorted(accepted.keys() - used)]
    return found


def _line(entry: Entry) -> str:
    return f"{entry.key} {' '.join(f'--hash=sha256:{digest}' for digest in sorted(entry.hashes))}\n"


if __name__ == "__main__":
    sys.exit(main())
