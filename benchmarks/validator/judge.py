"""One request and one verdict for each case."""

from collections.abc import Iterable, Iterator

from benchmarks.validator.cases import Case
from benchmarks.validator.pool import Verdict, Worker
from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.contract.validate import ValidateRequest

Judged = tuple[Case, Verdict]


def judged(cases: Iterable[Case], timeout: float = 60.0) -> Iterator[Judged]:
    """Validate each, in order. Nothing that a model does ends this."""
    with Worker(timeout) as worker:
        for case in cases:
            yield case, worker.validate(request(case))


def request(case: Case) -> ValidateRequest:
    """The rules that suit test models: any opset, and no batch axis, which most of them have not."""
    golden = {"golden": Tolerance(), "golden_path": str(case.data_set)} if case.data_set else {}
    return ValidateRequest(
        str(case.model.parent),
        opset_min=1,
        dynamic_batch="Allowed",
        file=case.model.name,
        domains=("ai.onnx.preview", "ai.onnx.preview.training"),
        **golden,  # type: ignore[arg-type]
    )
