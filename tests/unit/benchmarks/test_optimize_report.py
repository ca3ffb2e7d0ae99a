"""The optimizer's page and its lines on the terminal, from made-up figures."""

from pathlib import Path

from benchmarks.optimize.cases import Case
from benchmarks.optimize.measure import Measured, Row, Verdict
from benchmarks.optimize.report import lines, page
from benchmarks.optimize.rivals import PLAIN
from onnxmodel_runtime.contract.benchmark import BenchmarkResult, Environment, Point
from onnxmodel_runtime.contract.model import Parity
from onnxmodel_runtime.contract.providers import ProviderUse


def points(name: str, p50: float, noisy: bool = False) -> tuple[Point, ...]:
    """At the batch sizes 1 and 8, of which the latter takes four times as long."""
    return tuple(
        Point(name, batch, 1, p50=time, p95=time, p99=time, throughput=1000 * batch / time, samples=100, noisy=noisy)
        for batch, time in ((1, p50), (8, 4 * p50))
    )


def parity(*, passed: bool = True, top1: float | None = None) -> Parity:
    return Parity(
        passed, max_absolute=0.00125, max_relative=0.002, cosine=0.999999, output="y", batch_sizes=(1, 3), top1=top1
    )


ENVIRONMENT = Environment("a processor", 2.0, "", {"onnxruntime": "1.31.1"})
ROWS = (
    Row("fp32", True, 1_234_567, parity(), points=points("fp32", 0.5)),
    Row(
        "int8-dynamic", True, 300_000, parity(passed=False, top1=0.75), points=points("int8-dynamic", 0.25, noisy=True)
    ),
    Row(PLAIN, False, 2_000_000, points=points(PLAIN, 0.4)),
    Row("olive int8", False, why="Olive made no model"),
)
VERDICTS = (
    Verdict("Latency", "fp32", "fp32 is the fastest", PLAIN, 0.5, 0.4, 0.012),
    Verdict("Throughput", "fp32", "fp32 has the most rows", PLAIN, 0.25, 0.25, 0.001),
)
RUN = Measured(
    Case("toy", Path("/models/toy"), golden=True),
    ROWS,
    VERDICTS,
    BenchmarkResult(
        tuple(point for row in ROWS for point in row.points), ProviderUse("CPU", 100.0, {"CPU": 7}), ENVIRONMENT
    ),
)
TABLE = [
    "| fp32 | 1,234,567 | passed | 0.00125 | 0.999999 |  | 0.5 | 4,000 | 1.250 |",
    "| int8-dynamic | 300,000 | **failed** | 0.00125 | 0.999999 | 75 % | 0.25 (noisy) | 8,000 | 0.625 |",
    f"| {PLAIN} | 2,000,000 | original |  |  |  | 0.4 | 5,000 | 1.000 |",
    "| olive int8 | | skipped, see below | | | | | | |",
]


def test_the_page() -> None:
    written = page([RUN]).splitlines()
    assert written[0] == "# The optimizer in numbers"
    measured = "Measured on a processor, 2 cores; onnxruntime 1.31.1. 2 of 6 figures did not stabilize in time"
    assert any(line.startswith(measured) for line in written)
    assert f"| toy | Latency | fp32 | 0.5 ms | {PLAIN} | 0.4 ms | 1.250 | 1.2 % | **missed** |" in written
    assert f"| toy | Throughput | fp32 | 4,000 rows/s | {PLAIN} | 4,000 rows/s | 1.000 | 0.1 % | met |" in written
    at = written.index("## toy")
    assert written[at + 4 : at + 8] == TABLE
    assert written[at + 9 :] == [
        "- Latency: fp32 is the fastest.",
        "- Throughput: fp32 has the most rows.",
        "- olive int8: Olive made no model",
    ]


def test_the_lines_on_the_terminal() -> None:
    assert list(lines(RUN))[3:] == [
        *TABLE,
        "olive int8 skipped: Olive made no model",
        f"Latency: fp32 is the fastest; 1.250 of {PLAIN}'s time",
        f"Throughput: fp32 has the most rows; 1.000 of {PLAIN}'s time",
    ]
