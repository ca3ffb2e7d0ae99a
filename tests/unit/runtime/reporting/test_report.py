"""benchmark.json and report.html: whole, small, self-contained, and harmless whatever a model calls its parts."""

import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from onnxmodel_cli.__main__ import main
from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, Candidate, benchmark_report
from onnxmodel_runtime.contract.codec import dumps
from onnxmodel_runtime.contract.optimize import OptimizeResult, Variant
from onnxmodel_runtime.contract.outcome import Outcome
from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.measuring.windows import PERCENTS
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.reporting import plots
from onnxmodel_runtime.reporting.page import number, percent, render
from onnxmodel_runtime.reporting.report import Report, read
from onnxmodel_runtime.stages.benchmark import benchmark
from tests import models
from tests.unit.runtime.report_support import VARIANTS, report

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}"


class Page(HTMLParser):
    """What a browser would make of it: tags with attributes, and the text."""

    void = frozenset({"meta", "br", "img", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def harmless(text: str) -> Page:
    """Nothing runs, nothing is fetched, and what is open is closed."""
    page = Page(text)
    tags = {tag for tag, _ in page.tags}
    assert tags.isdisjoint({"script", "img", "link", "iframe", "object", "embed", "a", "image", "use", "base", "form"})
    attributes = {name for _, found in page.tags for name in found}
    assert not {name for name in attributes if name.startswith("on")}
    assert attributes.isdisjoint({"src", "href", "xlink:href", "style", "srcset", "action"})
    style = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    assert len(style) == 1
    assert "url(" not in style[0]
    assert "@import" not in style[0]
    return page


def test_the_largest_page_is_small_and_self_contained() -> None:
    text = render(report())
    assert len(text.encode()) < 200_000
    page = harmless(text)
    for shown in (
        *VARIANTS,
        "2.20 × as much as original",
        "not built: this image cannot build it",
        "not measured: its outputs differ",
        "4 of 96 measurements did not become stable",
        "constant folding",
        "and 5 more",
        "NVIDIA L4",
        "f" * 64,
    ):
        assert shown in page.text
    assert sum(tag == "table" for tag, _ in page.tags) == 5 + 6  # the operators of six variants
    assert [attributes["lang"] for tag, attributes in page.tags if tag == "html"] == ["en"]
    plots_ = [attributes for tag, attributes in page.tags if attributes.get("class") == "plot"]
    assert len(plots_) == 2 + 16 + 1
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in plots_)


def test_the_resource_says_which_variant_serves() -> None:
    made = report()
    page = harmless(render(replace(made, request=replace(made.request, namespace="prod", name="magika"))))
    assert "Benchmark of prod/magika" in page.text
    assert "kubectl -n prod get onnxmodel magika -o jsonpath='{.status.benchmark.reason}'" in page.text


def test_names_cannot_break_out() -> None:
    text = render(report(name=HOSTILE))
    page = harmless(text)
    assert "<script>alert(1)</script>" in page.text  # as text
    assert "{{ 7 * 7 }}" in page.text
    assert len(render(report(name="<" * 100_000)).encode()) < 500_000  # a name of 60 characters, each one escaped


@pytest.mark.parametrize(
    "less",
    [
        {"model": None, "optimized": None, "spreads": (), "operators": {}, "manifest_sha256": ""},
        {"operators": {"original": ()}},
    ],
    ids=["the benchmark alone", "no profile"],
)
def test_what_is_missing_is_missing(less: dict[str, object]) -> None:
    page = harmless(render(replace(report(), **less)))
    assert "Where the time goes" not in page.text
    assert "fused" in page.text


def test_one_candidate_at_one_point() -> None:
    harmless(render(report(("original",), (1,), (1,))))


def test_a_benchmark_leaves_its_report(tmp_path: Path) -> None:
    """With names from a real model, run by ONNX Runtime, beside what optimize knows of it."""
    made = models.model(
        [helper.make_node("Relu", [HOSTILE], ["y"], HOSTILE)],
        [(HOSTILE, TensorProto.FLOAT, ["n", 4])],
        [("y", TensorProto.FLOAT, ["n", 4])],
    )
    path = models.save(made, tmp_path / "original")
    (tmp_path / "variants").mkdir()
    variants = (
        Variant("original", str(path), sha256=digest(path), bytes=path.stat().st_size, nodes=1),
        Variant("int8-dynamic", skipped=HOSTILE),
    )
    optimized = Outcome("optimize", 1.0, OptimizeResult(variants, "", ProviderUse("CPU", 100.0)))
    (tmp_path / "variants" / "report.json").write_text(dumps(optimized))
    (tmp_path / "variants" / "manifest.json").write_text("{}")
    request = BenchmarkRequest(
        (Candidate("original", str(path), digest(path)),),
        "",
        (1, 2),
        (1,),
        seconds=0.001,
        optimized=str(tmp_path / "variants" / "report.json"),
        directory=str(tmp_path / "benchmark" / "0123"),
    )
    result = benchmark(request)
    whole = read(tmp_path / "benchmark" / "0123")
    assert (whole.result, whole.request, whole.optimized) == (result, request, optimized.result)
    assert whole.manifest_sha256 == hashlib.sha256(b"{}").hexdigest()
    assert whole.model is not None
    assert whole.model.inputs[0].name == HOSTILE
    assert [operator.name for operator in whole.operators["original"]] == ["Relu"]
    assert [spread.milliseconds[PERCENTS.index(50)] for spread in whole.spreads] == [p.p50 for p in result.points]
    raw = json.loads((tmp_path / "benchmark" / "0123" / "benchmark.json").read_text())
    assert raw["schema"] == 1
    page = harmless((tmp_path / "benchmark" / "0123" / "report.html").read_text())
    assert HOSTILE[:40] in page.text
    assert benchmark_report(request) == tmp_path / "benchmark" / "0123" / "outcome.json"


def test_a_volume_that_cannot_be_written_spoils_no_benchmark(tmp_path: Path) -> None:
    path = models.save(models.mlp(), tmp_path)
    (tmp_path / "file").write_text("")
    request = BenchmarkRequest(
        (Candidate("a", str(path), digest(path)),),
        "",
        (1,),
        (1,),
        seconds=0.001,
        directory=str(tmp_path / "file" / "x"),
    )
    assert benchmark(request).points


def test_the_page_again_from_a_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "benchmark.json").write_text(dumps(report()))
    assert main(["report", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_text() == render(read(tmp_path))
    assert main(["report", str(tmp_path / "benchmark.json"), "-o", str(tmp_path / "x.html")]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "report.html"), str(tmp_path / "x.html")]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{}", "Report.request: missing"), ("no", "not JSON"), (dumps(replace(report(), schema=2)), "schema 2")],
)
def test_what_is_no_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    (tmp_path / "benchmark.json").write_text(text)
    assert main(["report", str(tmp_path)]) == 10
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_a_report_is_the_same_after_a_round_trip(tmp_path: Path) -> None:
    (tmp_path / "benchmark.json").write_text(dumps(report(name=HOSTILE)))
    assert isinstance(read(tmp_path), Report)
    assert dumps(read(tmp_path)) == dumps(report(name=HOSTILE))


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1.0, 100.0, [1, 2, 5, 10, 20, 50, 100]),
        (0.5, 3.0, [0.5, 1, 1.5, 2, 2.5, 3]),
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1.0, 1e6, [1, 10, 100, 1000, 1e4, 1e5, 1e6]),
        (3.0, 3.0, [3.0]),
    ],
)
def test_axes_have_round_ticks(low: float, high: float, ticks: list[float]) -> None:
    axis = plots.Axis(low, high, 0, 100)
    assert axis.ticks() == pytest.approx(ticks)
    assert 0 <= axis(low) <= axis(high) <= 100


def test_numbers_for_people() -> None:
    assert [number(value) for value in (1234.5, 0.0123456, 3.0)] == ["1,230", "0.0123", "3"]
    assert [percent(value) for value in (-0.04, 12.34)] == ["0.0 %", "12.3 %"]
    assert [plots.short(value) for value in (1500, 2e6, 0.25, 10)] == ["1.5k", "2M", "0.25", "10"]
