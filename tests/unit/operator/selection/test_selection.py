"""Numbers of candidates, the constraints that they miss, which one is better, and why in words."""

from dataclasses import replace

import pytest

from dev.results import benchmarked, points
from onnxmodel_operator.api.spec.benchmark import Benchmark
from onnxmodel_operator.api.status import Measured
from onnxmodel_operator.selection import candidate
from onnxmodel_operator.selection.constraints import missed_constraints, regressed
from onnxmodel_operator.selection.numbers import (
    Incumbent,
    Numbers,
    attained,
    capacity,
    loads,
    numbers_of,
    remembered,
    where,
)
from onnxmodel_operator.selection.score import inexactness, is_clearly_better, more_percent, percent_apart, score
from onnxmodel_operator.selection.wording import Contest, compared, reason_of
from onnxmodel_runtime.contract.benchmark import Point
from onnxmodel_runtime.contract.loadtest import Load
from onnxmodel_runtime.contract.model import Parity
from onnxmodel_runtime.contract.optimize import OptimizeResult, Variant

LATENCY, THROUGHPUT = Benchmark(), Benchmark(objective="Throughput")


def numbers(p50=2.0, throughput=100.0, *, p99=8.0, spread=0.0):
    return Numbers(p50, 4.0, p99, throughput, 8, 4, p50_spread=spread, throughput_spread=spread)


def variant(name="fp32", *, passed=True, absolute=0.0, path="/artifacts/v", skipped="", unjoined="", note=""):
    parity = (
        None
        if name == "original" or skipped
        else Parity(
            passed, max_absolute=absolute, max_relative=0.01, cosine=0.9, output="y", batch_sizes=(1,), note=note
        )
    )
    made = "" if skipped else path
    return Variant(
        name,
        made,
        sha256="a" * 64,
        bytes=1,
        nodes=1,
        graph_level="All",
        parity=parity,
        skipped=skipped,
        unjoined=unjoined,
    )


def asked(**constraints):
    return Benchmark.model_validate({"constraints": constraints})


def point(batch, callers, p50=1.0, rate=10.0, *, name="fp32", noisy=False, spread=0.0):
    return Point(
        name,
        batch,
        callers,
        p50=p50,
        p95=p50 * 2,
        p99=p50 * 3,
        throughput=rate,
        samples=100,
        p90=p50 * 1.5,
        noisy=noisy,
        spread=spread,
    )


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_latencies_are_of_the_smallest_load_and_throughput_is_of_the_best():
    measured = (point(8, 1, 9.0, 50.0), point(1, 4, 3.0, 20.0), point(1, 1, 2.0, 10.0), point(8, 4, 30.0, 90.0))
    other = point(1, 1, 0.1, 900.0, name="original")
    assert numbers_of((other, *measured), "fp32") == Numbers(2.0, 4.0, 6.0, 90.0, 8, 4, 3.0)


@pytest.mark.parametrize(
    ("single", "best", "noisy"), [(False, False, False), (True, False, True), (False, True, True), (True, True, True)]
)
def test_numbers_are_noisy_where_one_of_their_two_points_is(single, best, noisy):
    measured = (
        point(1, 1, noisy=single, spread=1.5),
        point(8, 4, rate=90, noisy=best, spread=2.5),
        point(8, 1, noisy=True),
    )
    found = numbers_of(measured, "fp32")
    assert (found.noisy, found.p50_spread, found.throughput_spread) == (noisy, 1.5, 2.5)


def test_larger_batches_of_a_variant_whose_requests_are_not_joined_are_not_attained():
    alone = OptimizeResult((variant("original"), variant("fp32", unjoined="it mixes rows")), probe="", provider=None)
    measured = (point(1, 1), point(8, 1), point(8, 4), point(8, 4, name="original"))
    kept = [(p.variant, p.batch_size, p.concurrency) for p in attained(measured, alone)]
    assert kept == [("fp32", 1, 1), ("original", 8, 4)]


@pytest.mark.parametrize(
    ("grid", "found"),
    [
        (((1, 1), (8, 4)), (Load(1, 1), Load(8, 4))),
        (((1, 1),), (Load(1, 1),)),
        (((2, 4), (4, 2)), (Load(2, 4), Load(4, 2))),
    ],
)
def test_where_a_server_is_measured_again(grid, found):
    measured = points("fp32", p50=4.0, grid=grid)
    assert loads(numbers_of(measured, "fp32"), measured, "fp32") == found


@pytest.mark.parametrize(
    ("within", "also", "capacity_"),
    [
        (None, (), 900),
        (10.0, (), 900),
        (5.0, (Load(4, 2),), 300),
        (1.0, (), None),
    ],
)
def test_a_limit_of_the_p99_asks_for_the_best_load_below_it(within, also, capacity_):
    measured = [
        replace(point(1, 1, rate=100), p99=2.0),
        replace(point(4, 2, rate=300), p99=4.0),
        replace(point(8, 4, rate=900), p99=9.0),
    ]
    asked = loads(numbers_of(measured, "fp32"), measured, "fp32", within)
    assert asked == (Load(1, 1), Load(8, 4), *also)
    assert capacity(measured, within) == capacity_


def test_numbers_that_status_tells_are_read_back():
    status = Measured(
        p50_milliseconds=1, p95_milliseconds=2, p99_milliseconds=3, throughput_per_second=4, batch_size=8, concurrency=4
    )
    assert remembered(status) == Numbers(1, 2, 3, 4, 8, 4, p90=0.0)
    assert remembered(status.model_copy(update={"p90_milliseconds": 1.5})).p90 == 1.5


def test_figures_are_compared_where_they_were_measured_alike():
    assert where(benchmarked()) == "batch 1,8; concurrency 1,4; length 16; a processor, 2 cores"
    assert where(benchmarked()) != where(benchmarked(grid=((1, 1),)))


# ---- score -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "mine", "other", "better"),
    [
        pytest.param(LATENCY, numbers(1.0), numbers(2.0), True, id="half the p50"),
        pytest.param(LATENCY, numbers(2.0), numbers(1.0), False, id="twice the p50"),
        pytest.param(LATENCY, numbers(1.0), numbers(1.01), False, id="one percent"),
        pytest.param(LATENCY, numbers(1.0), numbers(1.021), True, id="more than two percent"),
        pytest.param(LATENCY, numbers(1.0, spread=6), numbers(1.1, spread=5), False, id="less than both vary by"),
        pytest.param(LATENCY, numbers(1.0, spread=4), numbers(1.1, spread=5), True, id="more than both vary by"),
        pytest.param(LATENCY, numbers(1.0, 1), numbers(1.0, 9), False, id="throughput is not asked for"),
        pytest.param(THROUGHPUT, numbers(9.0, 110.0), numbers(1.0, 100.0), True, id="ten percent more throughput"),
        pytest.param(THROUGHPUT, numbers(9.0, 101.0), numbers(1.0, 100.0), False, id="one percent more"),
        pytest.param(THROUGHPUT, numbers(9.0, 1.0), numbers(1.0, 0.0), True, id="the other had none"),
    ],
)
def test_a_difference_counts_where_it_is_more_than_noise(spec, mine, other, better):
    assert is_clearly_better(spec, mine, other) is better
    assert not (better and is_clearly_better(spec, other, mine)), "never both ways"
    assert (score(spec, mine) < score(spec, other)) or not better


@pytest.mark.parametrize(("spreads", "apart"), [((0, 0), 2.0), ((0.5, 0.5), 2.0), ((3, 4), 7.0)])
def test_by_how_much_two_must_differ(spreads, apart):
    mine, other = (numbers(spread=spread) for spread in spreads)
    assert percent_apart(LATENCY, mine, other) == percent_apart(THROUGHPUT, mine, other) == apart


@pytest.mark.parametrize(
    ("spec", "mine", "other", "percent"),
    [
        (LATENCY, numbers(3.0), numbers(2.0), 50),
        (LATENCY, numbers(1.0), numbers(2.0), -50),
        (THROUGHPUT, numbers(throughput=150), numbers(throughput=100), 50),
    ],
)
def test_by_how_much_a_figure_is_more(spec, mine, other, percent):
    assert more_percent(spec, mine, other) == percent


def test_inexactness_is_the_largest_difference():
    assert [inexactness(variant(name, absolute=0.5)) for name in ("original", "fp16")] == [0.0, 0.5]


# ---- constraints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constraints", "missed"),
    [
        ({}, {}),
        ({"p99Milliseconds": 8}, {}),
        ({"p99Milliseconds": 7.5}, {"p99": "p99 is 8 ms, the limit (p99Milliseconds) is 7.5"}),
        ({"throughputPerSecond": 100}, {}),
        (
            {"throughputPerSecond": 1000},
            {"throughput": "throughput is 100 per second, the minimum (throughputPerSecond) is 1,000"},
        ),
    ],
)
def test_constraints_that_are_missed(constraints, missed):
    assert missed_constraints(asked(**constraints), numbers()) == missed


@pytest.mark.parametrize(
    ("objective", "mine", "said"),
    [
        ("Latency", numbers(2.0), ""),
        ("Latency", numbers(2.19), ""),
        ("Latency", numbers(3.0), "p50 is 50 percent higher than that of the current revision r1"),
        ("Throughput", numbers(9.0, 95.0), ""),
        ("Throughput", numbers(9.0, 50.0), "throughput is 50 percent lower than that of the current revision r1"),
    ],
)
def test_a_regression_is_against_the_revision_that_serves(objective, mine, said):
    spec = Benchmark.model_validate({"objective": objective, "constraints": {"maxRegressionPercent": 10}})
    incumbent = Incumbent("r1", numbers(2.0, 100.0), "here")
    assert regressed(spec, mine, incumbent) == ((f"{said}; the limit (maxRegressionPercent) is 10",) if said else ())
    assert regressed(spec, mine, None) == regressed(Benchmark(), mine, incumbent) == ()


@pytest.mark.parametrize(
    ("what", "may"),
    [
        (variant("original"), True),
        (variant(passed=True), True),
        (variant(passed=False), False),
        (variant(skipped="no calibration"), False),
        (Variant("fp32", "/p", sha256="a", bytes=1, nodes=1, graph_level="All", parity=None), False),
    ],
)
def test_who_may_serve(what, may):
    assert candidate(what) is may


# ---- words -----------------------------------------------------------------------------------------------------------


def contest(measured, *, winner="original", missed=(), exact=0.0, spec=LATENCY, left_out=()):
    """measured: the numbers of each candidate. missed: who misses a constraint. exact: the inexactness of fp32."""
    variants = {name: variant(name, absolute=exact) for name in ("original", "fp32", "fused")}
    return Contest(
        spec,
        variants,
        winner,
        measured,
        {name: (f"{name} misses",) if name in missed else () for name in measured},
        dict(left_out),
    )


FAST, SLOW, NEAR = numbers(1.0, 200.0), numbers(2.0, 100.0), numbers(1.01, 199.0)


@pytest.mark.parametrize(
    ("about", "what", "reason"),
    [
        pytest.param(contest({"original": FAST}), "original", "it is the only candidate", id="alone"),
        pytest.param(
            contest({"original": SLOW, "fp32": FAST}, missed=["fp32"]),
            "original",
            "it is the only one that meets the constraints",
            id="alone in meeting the constraints",
        ),
        pytest.param(
            contest({"original": FAST, "fp32": SLOW}),
            "original",
            "its p50 is 50 percent lower than fp32",
            id="won clearly",
        ),
        pytest.param(
            contest({"original": FAST, "fp32": SLOW}, spec=THROUGHPUT),
            "original",
            "its throughput is 100 percent higher than fp32",
            id="won by throughput",
        ),
        pytest.param(
            contest({"original": FAST, "fp32": NEAR}, exact=0.1),
            "original",
            "its p50 is within 2 percent of fp32; it is more accurate",
            id="won by exactness",
        ),
        pytest.param(
            contest({"original": FAST, "fp32": NEAR}),
            "original",
            "its p50 is within 2 percent of fp32; both are equally accurate, and it comes first",
            id="won by order",
        ),
        pytest.param(
            contest({"original": numbers(1.0, spread=9), "fp32": numbers(1.1, spread=9)}, exact=0.1),
            "original",
            (
                "its p50 is 9 percent lower than fp32, which is within the noise: the figures vary by 18 "
                "percent; it is more accurate"
            ),
            id="which is within the noise",
        ),
        pytest.param(
            contest({"original": FAST, "fp32": SLOW}), "fp32", "its p50 is 100 percent higher than original", id="lost"
        ),
        pytest.param(
            contest({"original": numbers(1.5, spread=40), "fp32": numbers(1.0), "fused": SLOW}),
            "fused",
            "its p50 is 100 percent higher than fp32",
            id="lost to another than the winner",
        ),
        pytest.param(
            contest({"original": FAST, "fp32": NEAR}, exact=0.1),
            "fp32",
            "its p50 is within 2 percent of original; original is more accurate",
            id="lost by exactness",
        ),
        pytest.param(
            contest({"original": FAST, "fp32": NEAR}),
            "fp32",
            "its p50 is within 2 percent of original; original is equally accurate and comes first",
            id="lost by order",
        ),
        pytest.param(
            contest({"original": SLOW, "fp32": FAST}, missed=["fp32"]), "fp32", "fp32 misses", id="missed a constraint"
        ),
        pytest.param(
            contest({"original": FAST, "fp32": SLOW}, missed=["original", "fp32"]),
            "fp32",
            "its p50 is 100 percent higher than original",
            id="all miss, so the objective decides",
        ),
        pytest.param(
            contest({"original": FAST}, left_out={"fp32": "it died"}),
            "fp32",
            "left out of the benchmark: it died",
            id="left out",
        ),
        pytest.param(
            contest({"original": FAST}),
            "fp32",
            "left out of the benchmark: see the Job's log for the reason",
            id="left out, unsaid",
        ),
    ],
)
def test_why_a_variant_serves_or_not(about, what, reason):
    assert reason_of(about, about.variants[what]) == reason


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (variant("fp16", skipped="no calibration data"), "not built: no calibration data"),
        (variant("fp16", passed=False, note="no inputs"), "not checked: no inputs"),
        (
            variant("fp16", passed=False, absolute=0.5),
            "outside the tolerance: output y differs by 0.5 absolute, 0.01 relative, cosine 0.9",
        ),
    ],
)
def test_why_a_variant_was_not_measured(what, reason):
    assert reason_of(contest({"original": FAST}), what) == reason


def test_a_comparison_names_whose_figure_it_is():
    assert compared(LATENCY, SLOW, FAST, "fp32") == "p50 is 100 percent higher than fp32"
    assert compared(THROUGHPUT, SLOW, FAST, "fp32") == "throughput is 50 percent lower than fp32"
