"""`python -m benchmarks.optimize`: our variants and choice next to plain ONNX Runtime and Olive, model by model."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.optimize.cases import DEFAULT, NAMES, cases
from benchmarks.optimize.measure import measured
from benchmarks.optimize.report import lines, page, summary

OLIVE = Path(__file__).parents[2] / "build" / "olive" / "bin" / "python"


def main() -> int:
    """Print the tables. Exit code 1 when our choice is slower than the best of the others by more than the bar."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optimize", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=NAMES, default=DEFAULT, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=float, default=0.1, help="of a window; a figure needs three that agree (0.1)")
    parser.add_argument("--olive", type=Path, default=OLIVE, metavar="PYTHON", help="of the environment that has Olive")
    parser.add_argument("--no-olive", action="store_true", help="compare with plain ONNX Runtime alone")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep models, variants and Olive's logs here")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page in Markdown")
    options = parser.parse_args()
    if not options.no_olive and not options.olive.exists():
        parser.error(f"there is no Olive at {options.olive}: make build/olive, or --no-olive")
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        work = (options.work or Path(scratch)).absolute()
        for case in cases(work, tuple(options.models)):
            runs.append(measured(case, None if options.no_olive else options.olive.absolute(), options.seconds))
            print("\n".join(lines(runs[-1])), flush=True)
    print("\n".join(["", *summary(runs)]))
    if options.write:
        options.write.write_text(page(runs))
    return 0 if all(verdict.held for run in runs for verdict in run.verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
