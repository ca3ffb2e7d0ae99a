"""Which candidate serves."""

import dataclasses

import pytest

from dev.results import benchmarked, optimized, points
from onnxmodel_operator.api.spec.benchmark import Benchmark
from onnxmodel_operator.selection import Incumbent, Numbers, as_served, choose, loads, where
from onnxmodel_runtime.contract.loadtest import Load
from onnxmodel_runtime.contract.model import Parity


@pytest.mark.parametrize(
    ("spec", "original", "fp32", "winner", "reason"),
    [
        ({}, 4.0, 2.0, "fp32", "its p50 is 50 percent lower than original"),
        ({}, 2.0, 4.0, "original", "its p50 is 50 percent lower than fp32"),
        ({}, 4.0, 3.95, "original", "its p50 is within 2 percent of fp32; it is more accurate"),
        ({"objective": "Throughput"}, 4.0, 5.0, "fp32", "its throughput is 80 percent higher than original"),
        # The original is faster, but only fp32 holds the throughput (900 against 500).
        (
            {"constraints": {"throughputPerSecond": 800}},
            2.0,
            4.0,
            "fp32",
            "it is the only one that meets the constraints",
        ),
        ({"constraints": {"p99Milliseconds": 5}}, 4.0, 2.0, "fp32", "it is the only one that meets the constraints"),
    ],
)
def test_winner(spec, original, fp32, winner, reason):
    choice = choose(Benchmark.model_validate(spec), optimized(), benchmarked(original=original, fp32=fp32))
    assert choice.winner.variant.name == winner
    assert reason in choice.winner.reason
    assert choice.sentence.startswith(f"{winner} serves: ")
    assert [v.selected for v in choice.verdicts].count(True) == 1
    assert all(v.reason for v in choice.verdicts)


def test_what_was_proven_on_made_inputs_only_says_so():
    """Of variants that compute with fewer bits: the others differ in the order of operations alone."""
    made = dataclasses.replace(optimized(), made_inputs=True)
    assert "generated inputs" not in choose(Benchmark(), made, benchmarked()).sentence
    half = dataclasses.replace(made.variants[1], name="fp16")
    measured = benchmarked()
    renamed = tuple(dataclasses.replace(p, variant="fp16") if p.variant == "fp32" else p for p in measured.points)
    measured = dataclasses.replace(measured, points=renamed)
    for made_inputs in (True, False):
        told = dataclasses.replace(made, variants=(made.variants[0], half), made_inputs=made_inputs)
        choice = choose(Benchmark(), told, measured)
        assert choice.winner.variant.name == "fp16"
        assert ("checked with generated inputs only: provide spec.validation.golden" in choice.sentence) == made_inputs


def test_figures_of_other_sizes_are_not_compared():
    small, large = (dataclasses.replace(benchmarked(), sizes={"height": side}) for side in (224, 320))
    assert "height 320; a processor" in where(large)
    assert where(small) != where(large) != where(benchmarked())


def test_a_lowered_graph_level_is_in_the_sentence():
    lowered = "graph level Basic is used instead of All: on CPU, All changes the model's outputs (output 'y' …)"
    choice = choose(Benchmark(), dataclasses.replace(optimized(), lowered=lowered), benchmarked())
    assert choice.sentence.endswith(f"; {lowered}")


def test_a_server_is_measured_where_the_latencies_and_the_throughput_were():
    measured = benchmarked()
    winner = choose(Benchmark(), optimized(), measured).winner
    assert loads(winner.numbers, measured.points, "fp32") == (Load(1, 1), Load(8, 4))
    alone = benchmarked(grid=((1, 1),))
    winner = choose(Benchmark(), optimized(), alone).winner
    assert loads(winner.numbers, alone.points, "fp32") == (Load(1, 1),)


@pytest.mark.parametrize(
    ("constraints", "missed"),
    [
        ({"p99Milliseconds": 20, "throughputPerSecond": 300}, ()),
        ({"p99Milliseconds": 5}, ("as served, p99 is 10 ms, the limit (p99Milliseconds) is 5",)),
        (
            {"throughputPerSecond": 800},
            ("as served, throughput is 400 per second, the minimum (throughputPerSecond) is 800",),
        ),
        ({"p99Milliseconds": 1}, ("p99 is 4 ms, the limit (p99Milliseconds) is 1",)),  # said once
    ],
)
def test_what_is_served_holds_the_constraints_too(constraints, missed):
    spec = Benchmark.model_validate({"constraints": constraints})
    served = points("fp32", p50=5.0, throughput=400.0, grid=((1, 1), (8, 4)))
    choice = as_served(spec, choose(spec, optimized(), benchmarked()), served)
    assert choice.served == Numbers(5.0, 7.5, 10.0, 400.0, 8, 4, 6.0)
    assert choice.winner.missed == missed
    assert next(v for v in choice.verdicts if v.selected) == choice.winner
    assert choice.winner.numbers.p50 == 2.0, "what the variants are compared by stays"


def test_constraints_that_nobody_holds_are_named():
    spec = Benchmark.model_validate({"constraints": {"p99Milliseconds": 0.5, "throughputPerSecond": 1e6}})
    choice = choose(spec, optimized(), benchmarked())
    assert choice.winner.missed == (
        "p99 is 4 ms, the limit (p99Milliseconds) is 0.5",
        "throughput is 900 per second, the minimum (throughputPerSecond) is 1,000,000",
    )


def test_one_that_holds_the_constraints_beats_a_faster_one_that_does_not():
    spec = Benchmark.model_validate({"constraints": {"throughputPerSecond": 800}})
    choice = choose(spec, optimized(), benchmarked(original=2.0, fp32=4.0))
    assert choice.winner.variant.name == "fp32"
    assert "the minimum (throughputPerSecond) is 800" in choice.verdicts[0].reason


@pytest.mark.parametrize(
    ("left_out", "reason"),
    [({"fp32": "it died with SIGFPE"}, "it died with SIGFPE"), ({}, "see the Job's log for the reason")],
)
def test_why_a_candidate_was_not_measured(left_out, reason):
    measured = dataclasses.replace(benchmarked(original=4.0, fp32=None), left_out=left_out)
    verdict = choose(Benchmark(), optimized(), measured).verdicts[1]
    assert (verdict.numbers, verdict.reason) == (None, f"left out of the benchmark: {reason}")


def test_speedup_is_against_the_original():
    assert choose(Benchmark(), optimized(), benchmarked(original=4.0, fp32=2.0)).speedup == 2.0
    throughput = Benchmark.model_validate({"objective": "Throughput"})
    assert choose(throughput, optimized(), benchmarked(original=4.0, fp32=2.0)).speedup == pytest.approx(900 / 500)


def test_a_loser_is_not_told_that_the_winner_is_more_exact_where_it_is_not():
    made = optimized()
    fused = dataclasses.replace(
        made.variants[1],
        name="fused",
        path="/f",
        parity=Parity(True, max_absolute=1e-7, max_relative=0, cosine=1, output="y", batch_sizes=(1,)),
    )
    made = dataclasses.replace(made, variants=(*made.variants, fused))
    measured = benchmarked(original=4.0, fp32=3.85)
    between = tuple(
        dataclasses.replace(point, variant="fused", p50=point.p50 * 3.92 / 3.85)
        for point in measured.points
        if point.variant == "fp32"
    )
    choice = choose(Benchmark(), made, dataclasses.replace(measured, points=(*measured.points, *between)))
    assert choice.winner.variant.name == "fused"
    assert choice.verdicts[0].reason == "its p50 is 2 percent higher than fused"


def test_equal_answers_are_not_called_more_exact():
    choice = choose(Benchmark(), optimized(absolute=0.0), benchmarked(original=4.0, fp32=3.95))
    assert choice.winner.variant.name == "original", "one percent is noise, and noise chooses nothing"
    assert choice.winner.reason == "its p50 is within 2 percent of fp32; both are equally accurate, and it comes first"
    assert choice.verdicts[1].reason.endswith("original is equally accurate and comes first")


@pytest.mark.parametrize(
    ("limit", "p50", "elsewhere", "missed"),
    [
        (5, 1.95, "", False),
        (5, 1.8, "", True),  # fp32 takes 2.0 ms, which is 11 percent more
        (20, 1.8, "", False),
        (None, 1.0, "", False),
        (5, 1.0, "another machine", False),
    ],
)
def test_a_regression_against_what_serves(limit, p50, elsewhere, missed):
    measured = benchmarked(original=4.0, fp32=2.0)
    serving = Incumbent("abc", Numbers(p50, p50, p50, 900.0, 8, 4), elsewhere or where(measured))
    spec = Benchmark.model_validate({"constraints": {"maxRegressionPercent": limit}})
    winner = choose(spec, optimized(), measured, serving).winner
    assert bool(winner.missed) is missed
    if missed:
        assert "p50 is 11 percent higher than that of the current revision abc" in winner.missed[0]


def test_the_speedup_against_what_was_measured_elsewhere():
    spec = Benchmark.model_validate({"baseline": {"framework": "PyTorch", "batchSize": 8, "p50Milliseconds": 48}})
    choice = choose(spec, optimized(), benchmarked(original=4.0, fp32=2.0))
    assert (choice.framework, choice.framework_speedup) == ("PyTorch", 3.0)
    measured = benchmarked()  # of a model with a batch size of its own
    alone = dataclasses.replace(measured, points=tuple(p for p in measured.points if p.batch_size == 1))
    assert choose(spec, optimized(), alone).framework_speedup is None


def test_noise_is_said():
    measured = benchmarked()
    noisy = dataclasses.replace(
        measured, points=(dataclasses.replace(measured.points[0], noisy=True), *measured.points[1:])
    )
    assert "noisy" in choose(Benchmark(), optimized(), noisy).sentence
    assert "noisy" not in choose(Benchmark(), optimized(), measured).sentence


def varied(measured, **spreads):
    """The same figures, which vary by so many percent."""
    made = (dataclasses.replace(p, spread=spreads.get(p.variant, p.spread), noisy=True) for p in measured.points)
    return dataclasses.replace(measured, points=tuple(made))


@pytest.mark.parametrize("objective", ["Latency", "Throughput"])
@pytest.mark.parametrize(("original", "fp32"), [(2.0, 2.36), (2.5, 2.0)], ids=["18 percent", "25 percent"])
def test_noise_does_not_choose(objective, original, fp32):
    """One model in two namespaces, measured at the same time: original by 18 percent, fp32 by 25."""
    measured = benchmarked(original=original, fp32=fp32)
    even = tuple(
        dataclasses.replace(p, throughput=1000 / p.p50 * p.batch_size * p.concurrency) for p in measured.points
    )
    spec = Benchmark.model_validate({"objective": objective})
    quiet = choose(spec, optimized(), dataclasses.replace(measured, points=even))
    assert quiet.winner.variant.name == ("original" if original < fp32 else "fp32")
    noisy = choose(spec, optimized(), varied(dataclasses.replace(measured, points=even), fp32=30))
    assert noisy.winner.variant.name == "original"
    assert "which is within the noise: the figures vary by 30 percent; it is more accurate" in noisy.sentence
    assert "original is more accurate" in noisy.verdicts[1].reason
    assert "noisy" in noisy.sentence


def test_a_difference_that_is_larger_than_the_noise_counts():
    choice = choose(Benchmark(), optimized(), varied(benchmarked(original=4.0, fp32=2.0), fp32=60))
    assert choice.winner.variant.name == "fp32"
    assert choice.winner.reason == "its p50 is 50 percent lower than original"


def test_one_that_varies_wildly_does_not_bring_back_what_a_steady_one_beats():
    made = optimized()
    fused = dataclasses.replace(
        made.variants[1],
        name="fused",
        path="/f",
        parity=Parity(True, max_absolute=1e-4, max_relative=0, cosine=1, output="y", batch_sizes=(1,)),
    )
    made = dataclasses.replace(made, variants=(*made.variants, fused))
    measured = benchmarked(original=4.0, fp32=2.0)
    wild = tuple(
        dataclasses.replace(p, variant="fused", p50=p.p50 * 0.9, spread=150)
        for p in measured.points
        if p.variant == "fp32"
    )
    choice = choose(Benchmark(), made, dataclasses.replace(measured, points=(*measured.points, *wild)))
    assert choice.winner.variant.name == "fp32", "twice as fast as the original, and more exact than fused"
    assert choice.verdicts[0].reason == "its p50 is 100 percent higher than fp32"
    assert "which is within the noise" in choice.verdicts[2].reason


@pytest.mark.parametrize(
    ("joining", "unjoined", "batch"), [(True, "rows influence each other", 1), (True, "", 8), (False, "rows", 8)]
)
def test_larger_batches_of_what_is_not_joined_do_not_count_where_requests_would_be(joining, unjoined, batch):
    made = optimized()
    variants = tuple(dataclasses.replace(v, unjoined=unjoined if v.name == "fp32" else "") for v in made.variants)
    throughput = Benchmark.model_validate({"objective": "Throughput"})
    choice = choose(throughput, dataclasses.replace(made, variants=variants), benchmarked(), joining=joining)
    numbers = {verdict.variant.name: verdict.numbers for verdict in choice.verdicts}
    assert numbers["fp32"].batch_size == batch
    assert numbers["original"].batch_size == 8
    alone = dataclasses.replace(made, variants=tuple(dataclasses.replace(v, unjoined="why") for v in made.variants))
    assert ("not batched: why" in choose(Benchmark(), alone, benchmarked(), joining=joining).sentence) == joining
