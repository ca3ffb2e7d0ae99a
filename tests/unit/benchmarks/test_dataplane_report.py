"""The benchmark of the data plane judges ratios within a round, so that a machine whose speed changes hides nothing."""

import pytest

from benchmarks.dataplane.bars import verdicts
from benchmarks.dataplane.machine import Shares, Ticks, shares
from benchmarks.dataplane.report import Method, line, lines, page
from benchmarks.dataplane.results import ALONE, Figures, Run, Server, middle, turns
from benchmarks.dataplane.subjects import KSERVE, OURS, TRITON, TRITON_LEAST

# How fast the machine is in each round: what is absolute means nothing.
SPEEDS = (1.0, 0.4, 1.6, 0.7, 1.2)


def rounds(throughput: float, p99: float = 0.01, cpu: float = 1.0) -> list[Figures]:
    return [Figures(throughput * speed, p99 / speed / 2, p99 / speed, cpu / speed) for speed in SPEEDS]


def run(name: str, protocol: str = "http", **subjects: list[Figures]) -> Run:
    made = Run(name, "a model", 0.1)
    for subject, windows in subjects.items():
        for figures in windows:
            made.add(subject, protocol, 8, figures)
    return made


def held(made: Run) -> list[tuple[bool, str]]:
    return [(verdict.held, verdict.text) for verdict in verdicts([made])]


def test_ratios_are_taken_within_a_round() -> None:
    made = run("middle", **{OURS: rounds(98), ALONE: rounds(100)})
    assert made.ratios("throughput", OURS, ALONE, "http", 8) == pytest.approx([0.98] * 5)
    assert made.ratios("throughput", OURS, TRITON, "http", 8) == []
    ((good, text),) = held(made)
    assert good
    assert "0.980 (0.98 to 0.98), target at least 0.97" in text


def test_the_median_of_the_ratios_is_judged_not_the_ratio_of_the_medians() -> None:
    ours, alone = ([Figures(value, 1, 1, 1) for value in values] for values in ((90, 10, 80), (100, 10, 90)))
    assert f"{middle(ours).throughput / middle(alone).throughput:.3f}" == "0.889"
    ((good, text),) = held(run("slow", **{OURS: ours, ALONE: alone}))
    assert not good
    assert text.startswith("MISSED slow, http, concurrency 8")
    assert "0.900 (0.89 to 1.00)" in text


@pytest.mark.parametrize(
    ("name", "protocol", "other", "theirs", "ours", "expected"),
    [
        ("middle", "grpc", ALONE, rounds(100), rounds(96.9), {"throughput": False}),
        ("middle", "grpc", TRITON, rounds(100), rounds(99.6), {"throughput": True, "p99": True}),
        ("middle", "grpc", TRITON, rounds(100), rounds(99.4), {"throughput": False, "p99": True}),
        ("slow", "http", TRITON, rounds(100, p99=0.1), rounds(100, p99=0.102), {"throughput": True, "p99": False}),
        ("overhead", "http", TRITON_LEAST, rounds(100), rounds(85, cpu=1.5), {"throughput": True, "CPU": True}),
        ("overhead", "http", TRITON_LEAST, rounds(100), rounds(84.9, cpu=1.51), {"throughput": False, "CPU": False}),
        ("overhead", "grpc", KSERVE, rounds(100), rounds(500), {"throughput": True}),
        ("overhead", "grpc", KSERVE, rounds(100), rounds(499), {"throughput": False}),
        ("overhead", "http", KSERVE, rounds(100), rounds(100), {}),
        ("overhead", "http", ALONE, rounds(100), rounds(10), {}),
    ],
)
def test_each_bar(
    name: str, protocol: str, other: str, theirs: list[Figures], ours: list[Figures], expected: dict[str, bool]
) -> None:
    found = held(run(name, protocol, **{OURS: ours, other: theirs}))
    assert {text.split(": ")[1].split(" relative ")[0]: good for good, text in found} == expected


def test_memory_and_time_to_ready() -> None:
    made = Run("middle", "a model", 0.1, servers={OURS: Server(1.09, 199, 250), TRITON: Server(9, 900, 900)})
    assert [good for good, _ in held(made)] == [True, True]
    made.servers[OURS] = Server(1.11, 201, 250)
    assert [good for good, _ in held(made)] == [False, False]


def test_every_other_round_goes_backwards() -> None:
    assert [list(turn) for turn in turns("abc", 3)] == [list("abc"), list("cba"), list("abc")]


def test_a_row_shows_medians_and_the_page_its_noise() -> None:
    made = run("middle", **{ALONE: rounds(100), OURS: rounds(50, p99=0.02)})
    assert line(made, OURS, "http", 8) == f"| {OURS} | http | 8 | 50 | 50.0 % | 10 | 20 | 1.000 |"
    assert lines(made)[2] == f"| {ALONE} | | | 100 | 100 % | 5 | 10 | 1.000 |"
    text = page([made], verdicts([made]), Method(5, 1.0, 100, Shares(0.125, 0.02)))
    for words in (
        "up to 300 % apart",
        "host stole 12.5 %",
        "took 2.0 %",
        "40 to 160 times a second",
        "MISSED middle",
    ):
        assert words in " ".join(text.split())
    assert max(len(row) for row in text.splitlines() if not row.startswith(("|", "met", "MISSED"))) <= 120


def test_the_share_of_others() -> None:
    before = Ticks.parse("cpu  100 0 50 800 10 0 5 20 40 0\ncpu0 1 2 3", mine=30)
    after = Ticks.parse("cpu  160 0 60 900 20 0 5 40 90 0\ncpu0 1 2 3", mine=80)
    assert (before.total, before.busy) == (985, 155)
    assert shares(before, after) == Shares(stolen=0.1, others=0.1)
