"""Findings as SARIF 2.1.0, which CI systems show beside the code: https://docs.oasis-open.org/sarif/sarif/v2.1.0/."""

import json
from collections.abc import Iterator
from typing import Any

from onnxmodel_runtime.contract.outcome import Outcome
from onnxmodel_runtime.contract.validate import Finding, ValidateResult

_LEVELS = {"error": "error", "warning": "warning", "info": "note"}


def text(outcome: Outcome, uri: str) -> str:
    """Return one run with a result for each finding, and for a failure without findings, such as a missing source."""
    found = outcome.result.findings if isinstance(outcome.result, ValidateResult) else outcome.findings
    results = [_result(finding, uri) for finding in found]
    if outcome.failure and not any(finding.severity == "error" for finding in found):
        failure = outcome.failure
        results.append(_result(Finding(failure.reason, "error", failure.field, failure.message, failure.hint), uri))
    rules = sorted({result["ruleId"] for result in results})
    driver = {"name": "onnxmodel", "rules": [{"id": rule} for rule in rules]}
    run = {"tool": {"driver": driver}, "results": results}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2)


def _result(finding: Finding, uri: str) -> dict[str, Any]:
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": uri}}}
    if finding.target:
        location["logicalLocations"] = [{"name": finding.target}]
    return {
        "ruleId": finding.id,
        "level": _LEVELS.get(finding.severity, "warning"),
        "message": {"text": " ".join(_sentences(finding))},
        "locations": [location],
    }


def _sentences(finding: Finding) -> Iterator[str]:
    yield f"{finding.message.rstrip('.')}."
    if finding.fix:
        yield f"{finding.fix.rstrip('.')}."
