"""The control plane's benchmark: what counts as a request, and what the page says of bars."""

import json
from collections import Counter

from benchmarks.controlplane.ours import Lives, Restart, TakenOver
from benchmarks.controlplane.report import Figures, held, page, table
from benchmarks.controlplane.subject import Audit, Spent


def line(verb: str, stage: str = "ResponseComplete", user: str = "us", resource: str = "jobs") -> str:
    event = {"verb": verb, "stage": stage, "user": {"username": user}, "objectRef": {"resource": resource}}
    return json.dumps(event) + "\n"


def test_requests_of_the_user_are_counted_once_and_leases_never(tmp_path):
    log = tmp_path / "audit.log"
    log.write_text(line("patch") + line("get", user="other") + line("update", resource="leases") + line("watch")[:9])
    audit = Audit(log, "us")
    assert audit.read() == Counter(patch=1)
    rest = line("watch")[9:] + line("watch", "ResponseStarted") + line("get") + json.dumps({"verb": "list"})
    log.write_text(log.read_text() + rest + "\n")
    assert audit.read() == Counter(patch=1, watch=1, get=1)
    assert audit.read() == Counter(patch=1, watch=1, get=1)


def lives(cpu: float, requests: int) -> Lives:
    return Lives(100, Spent(9.0, cpu, Counter(patch=requests)), [1.0, 2.0], 0.01)


def restart(models: int, cpu: float, **requests: int) -> Restart:
    return Restart(models, True, Spent(4.0, cpu, Counter(requests)), 2.0, 90_000_000, 80_000_000, 0.01, models, 1.0)


def test_what_is_within_its_bar_is_held():
    figures = Figures(burst=lives(6.9, 2500), restarts=[restart(614, 2.9, watch=7), restart(1228, 5.9, watch=7)])
    assert held(figures)
    assert "missed" not in "\n".join(table(figures))
    assert "## Missed targets" not in page(figures)


def test_a_missed_bar_is_named_with_how_much():
    figures = Figures(burst=lives(14.0, 2500), takeovers=[TakenOver(1000, "SIGKILL", float("inf"))])
    assert not held(figures)
    assert "- CPU per life, burst of 100: 140 ms of 70.0 ms, 2.0 times the target." in page(figures)
    assert "takeover with 1,000 after SIGKILL" in page(figures)


def test_a_write_at_a_restart_is_missed_and_so_is_a_part_that_failed():
    assert not held(Figures(restarts=[restart(614, 1.0, patch=1)]))
    figures = Figures(failures=["TimeoutError: not idle"])
    assert not held(figures)
    assert "could not be measured: TimeoutError: not idle" in page(figures)
