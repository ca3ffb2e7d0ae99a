"""The report in a real browser: nothing overflows a phone, dark is dark, and the pictures are there to look at.

Needs chromium: on PATH, or named by ONNXMODEL_CHROMIUM. ONNXMODEL_SCREENSHOTS names a folder where the pictures stay.
"""

import html
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dev import magika
from onnxmodel_cli.__main__ import main
from onnxmodel_runtime.reporting.page import render
from tests.unit.runtime.report_support import report

CHROMIUM = os.environ.get("ONNXMODEL_CHROMIUM") or shutil.which("chromium") or ""
DARK = "--blink-settings=preferredColorScheme=0"
# A frame, for a window of chromium is never narrower than 500 pixels.
FRAME = '<!doctype html><title></title><iframe width="{}" height="2000" style="border: 0" srcdoc="{}"></iframe>'
# Runs in a copy of the page whose policy allows it: the page itself has no script.
MEASURE = """<script>parent.document.title = [innerWidth, document.documentElement.scrollWidth,
  getComputedStyle(document.body).backgroundColor,
  [...document.querySelectorAll(".tiles, p, dl, figure, .legend, summary")]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1).length].join("|")</script>"""

pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="no browser: neither chromium on PATH nor ONNXMODEL_CHROMIUM is set"
)


def browse(page: Path, *options: str, width: int, height: int = 2400) -> str:
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--host-rules=MAP * ~NOTFOUND",
    ]
    command += [
        f"--user-data-dir={page.parent / 'profile'}",
        f"--window-size={width},{height}",
        *options,
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The largest page, and that of a real model, whose variants were made and measured here."""
    directory = tmp_path_factory.mktemp("pages")
    (directory / "largest.html").write_text(render(report()))
    variants = directory / "variants"
    assert main(["optimize", str(magika.model()), f"--out={variants}"]) == 0
    given = ["benchmark", str(magika.model()), str(variants / "fp32" / "model.onnx"), f"--out={directory / 'out'}"]
    assert main([*given, "--batch-sizes=1,2", "--seconds=0.05", "--windows=4"]) == 0
    (directory / "out" / "report.html").rename(directory / "magika.html")
    return {name: directory / f"{name}.html" for name in ("largest", "magika")}


@pytest.mark.parametrize("name", ["magika", "largest"])
@pytest.mark.parametrize("width", [390, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page(pages: dict[str, Path], tmp_path: Path, name: str, width: int, scheme: str) -> None:
    options = [DARK] if scheme == "dark" else []
    measured = tmp_path / "measured.html"
    page = pages[name].read_text().replace("default-src 'none'", "script-src 'unsafe-inline'")
    measured.write_text(FRAME.format(width, html.escape(page.replace("</body>", f"{MEASURE}</body>"))))
    title = re.search("<title>(.*?)</title>", browse(measured, *options, "--dump-dom", width=1400))
    assert title is not None
    inner, scroll, background, beyond = title[1].split("|")
    assert int(inner) == width
    assert int(scroll) == width, "the page itself scrolls sideways; only tables may"
    assert beyond == "0"
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) is (scheme == "dark")

    picture = Path(os.environ.get("ONNXMODEL_SCREENSHOTS") or tmp_path) / f"{name}-{width}-{scheme}.png"
    browse(pages[name], *options, f"--screenshot={picture}", width=width, height=2400 if width > 1000 else 4200)
    assert picture.read_bytes().startswith(b"\x89PNG")
