"""`python -m benchmarks.validator`: run the validator over every model of the onnx package's backend tests."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.validator.cases import KINDS, cases, only_addresses
from benchmarks.validator.judge import judged
from benchmarks.validator.numbers import groups, times
from benchmarks.validator.report import page, table, unexplained


def main() -> int:
    """Print the table. Exit code 1 when a model crashed, hung, met a defect of ours, or is refused without explanation."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validator", description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="of one model (60)")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where generated models go, to be kept for the next run"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page in Markdown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results = list(judged(cases(options.work or Path(scratch), tuple(options.kinds)), options.timeout))
    print("\n".join(table(results)))
    for group in groups(results):
        print(f"{group.reason}: {group.count}")
    print({name: round(seconds, 4) for name, seconds in times(results).items()})
    bad = [(case, verdict) for case, verdict in results if verdict.kind in ("failed", "crashed", "hung")]
    missing = unexplained(results)
    for case, verdict in (*bad, *missing):
        print(f"{case.kind} {case.name}: {verdict.kind}, {verdict.reason}: {verdict.message[:300]}")
    if options.write:
        options.write.write_text(page(results, only_addresses()))
    return 1 if bad or missing else 0


if __name__ == "__main__":
    sys.exit(main())
