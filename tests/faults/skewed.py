"""`python -m tests.faults.skewed ... SECONDS`: the operator with a wall clock that is so far ahead.

The monotonic clock is right.
"""

import sys
from datetime import datetime, timedelta, tzinfo

import onnxmodel_operator.__main__ as operator
from onnxmodel_operator.cluster import lease
from onnxmodel_operator.controller import process


class Skewed(datetime):
    skew = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # nobody asks which class it is
        return datetime.now(tz) + cls.skew


if __name__ == "__main__":
    Skewed.skew = timedelta(seconds=float(sys.argv.pop()))
    for module in (process, lease):
        vars(module)["datetime"] = Skewed
    sys.exit(operator.main())
