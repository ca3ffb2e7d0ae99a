"""One model: make everything, prove everything, measure everything in turns, and let the operator choose among ours."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from benchmarks.optimize.cases import Case, golden_inputs
from benchmarks.optimize.duel import AGAIN, duel
from benchmarks.optimize.rivals import rivals
from onnxmodel_operator.api.spec.benchmark import Benchmark
from onnxmodel_operator.selection import Choice, choose
from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, BenchmarkResult, Candidate, Point
from onnxmodel_runtime.contract.model import Parity, Tolerance
from onnxmodel_runtime.contract.optimize import OptimizeRequest, OptimizeResult, Variant
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.errors import runtime_message
from onnxmodel_runtime.models import parity
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.models.inputs import Arrays, generate, signature
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.stages import apart

VARIANTS = ("fp32", "fused", "fp16", "int8-dynamic", "int8-static", "ort")
SIZES = (1, 3, 8)  # of parity
BATCHES = (1, 8)  # of speed
RIVALS = 3  # that meet our choice in the duel
OBJECTIVES = ("Latency", "Throughput")
BAR_PERCENT = 3.0
WINDOWS = 12  # at most, of one figure. Many short ones: on a shared machine turns must come round soon to be fair


Files = dict[str, tuple[Path, str]]  # name -> the model, and the graph level to load it with


@dataclass(frozen=True)
class Row:
    """One variant of ours or of a rival. why: there is none; else points has its figures."""

    name: str
    ours: bool
    bytes: int = 0
    parity: Parity | None = None
    why: str = ""
    points: tuple[Point, ...] = ()

    @property
    def p50(self) -> float:
        """Milliseconds at the smallest batch size."""
        return min(self.points, key=lambda point: point.batch_size).p50

    @property
    def throughput(self) -> float:
        """Rows per second, at the best batch size."""
        return max(point.throughput for point in self.points)

    @property
    def best_batch(self) -> int:
        """The batch size of that."""
        return max(self.points, key=lambda point: point.throughput).batch_size

    @property
    def fit(self) -> bool:
        """True if the variant may be served: it exists, and its outputs match the original's."""
        return bool(self.points) and (self.parity is None or self.parity.passed)


@dataclass(frozen=True)
class Verdict:
    """Our choice against the best rival that answers rightly. ours, theirs: milliseconds per row, each at its best batch.

    noise: how far two sessions of our own choice were apart, as a share.
    """

    objective: str
    choice: str
    sentence: str
    rival: str
    ours: float
    theirs: float
    noise: float

    @property
    def ratio(self) -> float:
        """Our time by theirs; below 1 we are faster."""
        return self.ours / self.theirs

    @property
    def held(self) -> bool:
        """Never slower by more than the bar."""
        return self.ratio <= 1 + BAR_PERCENT / 100


@dataclass(frozen=True)
class Measured:
    """The results of one model."""

    case: Case
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    result: BenchmarkResult


def measured(case: Case, python: Path | None, seconds: float) -> Measured:
    """seconds: of one window of one figure."""
    optimized = _optimized(case)
    rows = {variant.name: _our_row(variant, case.folder) for variant in optimized.variants}
    files: Files = {v.name: (Path(v.path), v.graph_level) for v in optimized.variants if v.path}
    expected = _answers(case, case.model, "None")
    for name, made in rivals(case, python).items():
        rows[name], path = _rival_row(case, name, made, expected), made
        if isinstance(path, Path) and not rows[name].why:
            files[name] = (path, "All")
    request = BenchmarkRequest(
        tuple(Candidate(name, str(path), digest(path), level) for name, (path, level) in files.items()),
        optimized.probe,
        batch_sizes=BATCHES,
        concurrency=(1,),
        seconds=seconds,
        windows=WINDOWS,
    )
    result = apart.run("benchmark", request)
    assert isinstance(result, BenchmarkResult)
    whole = [_with_points(row, result) for row in rows.values()]
    verdicts = tuple(
        _verdict(case, choose(Benchmark(objective=o), optimized, result), o, whole, files) for o in OBJECTIVES
    )
    return Measured(case, tuple(whole), verdicts, result)


def _optimized(case: Case) -> OptimizeResult:
    request = OptimizeRequest(
        str(case.model),
        digest(case.model),
        str(case.folder / "ours"),
        VARIANTS,
        batch_sizes=SIZES,
        calibration_data=str(case.folder),
        golden=case.golden,
    )
    result = apart.run("optimize", request)
    assert isinstance(result, OptimizeResult)
    return result


def _our_row(variant: Variant, folder: Path) -> Row:
    return Row(variant.name, True, variant.bytes, variant.parity, variant.skipped.replace(f"{folder}/", ""))


def _rival_row(case: Case, name: str, made: Path | str, expected: Callable[[int], Arrays]) -> Row:
    """Rivals are proven as our variants are: the same inputs, the same reference, the same tolerance."""
    if isinstance(made, str):
        return Row(name, False, why=made)
    try:
        found = parity.measure(_answers(case, made, "All"), expected, tuple(_inputs(case)), Tolerance())
    except Exception as error:
        why = f"ONNX Runtime cannot run it: {runtime_message(error)}"
        return Row(name, False, why=why.replace(f"{case.folder}/", ""))
    return Row(name, False, sum(file.stat().st_size for file in made.parent.glob(f"{made.name}*")), found)


def _answers(case: Case, path: Path, level: str) -> Callable[[int], Arrays]:
    return partial(_run, open_session(path, Providers(), level).session, _inputs(case))


def _run(session: Any, inputs: dict[int, Arrays], size: int) -> Arrays:
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs[size]), strict=True))


def _inputs(case: Case) -> dict[int, Arrays]:
    """By batch size, as the optimize stage has them: the first golden rows and all of them, else made ones."""
    if case.golden:
        rows = golden_inputs(case)
        count = min(map(len, rows.values()))
        return {size: {name: array[:size] for name, array in rows.items()} for size in (*SIZES, count)}
    signed = signature(onnx.load_model(case.model, load_external_data=False))
    return {size: generate(signed, size) for size in signed.batch_sizes(SIZES)}


def _with_points(row: Row, result: BenchmarkResult) -> Row:
    points = tuple(point for point in result.points if point.variant == row.name)
    return Row(row.name, row.ours, row.bytes, row.parity, row.why, points)


def _verdict(case: Case, choice: Choice, objective: str, rows: list[Row], files: Files) -> Verdict:
    """The rivals that came first in the benchmark meet our choice again, in pairs."""

    def cost(row: Row) -> float:
        return row.p50 if objective == "Latency" else 1 / row.throughput

    ours = choice.winner.variant.name
    numbers = choice.winner.numbers
    assert numbers is not None
    rivals = sorted((row for row in rows if not row.ours and row.fit), key=cost)[:RIVALS]
    signed = signature(onnx.load_model(case.model, load_external_data=False))
    sizes = {ours: numbers.batch_size, **{row.name: row.best_batch for row in rivals}}  # each at what is best for it
    if objective == "Latency":
        sizes = dict.fromkeys(sizes, min(_inputs(case)))
    inputs = {name: generate(signed, count) for name, count in sizes.items()}
    times = duel(ours, {name: files[name] for name in sizes}, inputs, sizes)
    best = min((row.name for row in rivals), key=times.__getitem__)
    noise = abs(times[AGAIN] / times[ours] - 1)
    return Verdict(objective, ours, choice.sentence, best, times[ours], times[best], noise)
