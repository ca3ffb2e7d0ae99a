"""The audit of the locks: pip-audit is real, the service of advisories is one here that speaks OSV's API."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from dev.ports import reserved
from locks import audit
from locks.closure import Entry
from locks.sbom import IMAGES, installed

ADVISORY = {
    "id": "PYSEC-2099-1",
    "aliases": ["CVE-2099-1"],
    "summary": "It gives all away.",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}
ENTRIES = {
    entry.key: entry
    for entry, _ in installed(IMAGES["operator"]).values()
    if entry and entry.name in ("jinja2", "pyyaml")
}
JINJA = next(key for key in ENTRIES if key.startswith("jinja2=="))


@contextmanager
def service(advisories: dict[str, list[Any]], status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """Advisories by the name of a package. Yields the URL, and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(f"{query['package']['name']}=={query['version']}")
            found = advisories.get(query["package"]["name"])
            body = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query", asked
        finally:
            server.shutdown()
            thread.join()


def test_what_is_known_against_a_release_is_found():
    with service({"jinja2": [ADVISORY]}) as (url, asked):
        report = audit.ask(ENTRIES, url)
    assert sorted(asked) == sorted(ENTRIES)
    assert audit.problems(report, ENTRIES, {}) == [f"{JINJA}: PYSEC-2099-1, CVE-2099-1; fixed in 99.1"]
    assert audit.problems(report, ENTRIES, {"CVE-2099-1": "of another platform"}) == []


def test_nothing_is_found_where_nothing_is_known():
    with service({}) as (url, asked):
        report = audit.ask(ENTRIES, url)
    assert sorted(asked) == sorted(ENTRIES)
    assert audit.problems(report, ENTRIES, {}) == []
    assert audit.problems(report, ENTRIES, {"CVE-2099-1": "gone"}) == [
        "CVE-2099-1 is accepted, but no longer reported: remove it"
    ]


def test_a_service_that_fails_is_no_audit():
    with service({}, status=503) as (url, _), pytest.raises(audit.NotAudited, match="did not answer: "):
        audit.ask(ENTRIES, url)


def test_offline_nothing_passes(monkeypatch, capsys):
    with reserved(1) as (port,):
        monkeypatch.setenv("ONNXMODEL_OSV_URL", f"http://127.0.0.1:{port}/v1/query")
        assert audit.main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("not audited: http://127.0.0.1:")
    assert len(err.splitlines()) == 1


def test_every_release_of_every_image_is_looked_up(monkeypatch, capsys):
    with service({"onnxruntime-gpu": [{**ADVISORY, "affected": []}]}) as (url, asked):
        monkeypatch.setenv("ONNXMODEL_OSV_URL", url)
        assert audit.main() == 1
    locked = {entry.key for image in IMAGES.values() for entry, _ in installed(image).values() if entry}
    assert sorted(asked) == sorted(locked)
    assert len(locked) > 60
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("onnxruntime-gpu==")
    assert line.endswith("; fixed in no release yet")


def test_a_release_that_was_skipped_is_no_audit():
    """As pip-audit reports a release that its service does not know, and calls all well."""
    report = {"dependencies": [{"name": "jinja2", "skip_reason": "Dependency not found"}], "fixes": []}
    with pytest.raises(audit.NotAudited, match=r"no answer for jinja2==\S+, pyyaml=="):
        audit.problems(report, ENTRIES, {})


def test_what_is_accepted_has_a_reason():
    assert all(len(reason) > 20 for reason in audit.ACCEPTED.values())
    assert all(isinstance(entry, Entry) for entry in ENTRIES.values())
