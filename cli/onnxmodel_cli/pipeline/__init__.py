"""`onnxmodel run` behind its options: read the manifest, run the pipeline, and print its verdict."""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from onnxmodel_cli.asked import Asked
from onnxmodel_cli.parser import USAGE, Parser
from onnxmodel_cli.pipeline import manifest
from onnxmodel_cli.pipeline.pipeline import Pipeline
from onnxmodel_operator.api.resource import OnnxModel, SpecError
from onnxmodel_operator.plan.values import Plan, State
from onnxmodel_operator.platform.settings import SettingsError
from onnxmodel_runtime.contract.outcome import ExitCode, Outcome
from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.volume import STATUS_FILE
from onnxmodel_runtime.reporting import sarif
from onnxmodel_runtime.sandbox.termination import INTERNAL


def run(asked: Asked, parser: Parser) -> int:
    """Run the stages, and return the exit code: 0 Ready, 10 refused, 11 something outside was not there, 1 a defect."""
    try:
        model = manifest.read_model(asked.manifest, asked.name)
        platform = manifest.read_settings(asked.settings) if asked.settings else manifest.this_machine(model)
        _check_replacements(model, asked)
        key = _key(asked.public_key)
    except OSError as error:
        parser.error(f"cannot read {str(error.filename)!r}: {error.strerror}")
    except SpecError as error:
        print(f"error: {manifest.place(asked.manifest)}: {error}", file=sys.stderr)
        return USAGE
    except (SettingsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    places = {
        "uri": asked.model,
        "golden_uri": asked.golden,
        "signature_uri": asked.signature,
        "calibration": asked.calibration,
    }
    with _folder(asked.out) as folder:
        pipeline = Pipeline(model, platform, folder, {name: place for name, place in places.items() if place}, key)
        decided = pipeline.run(Stage(asked.until))
        return _report(pipeline, asked, decided)


def _check_replacements(model: OnnxModel, asked: Asked) -> None:
    """Raise ValueError for a local file that would replace nothing: it would be ignored without a word."""
    spec = model.spec
    for option, given, field, there in (
        ("--golden", asked.golden, "validation.golden", spec.validation.golden),
        ("--calibration", asked.calibration, "optimization.calibration.uri", spec.optimization.calibration.uri),
        ("--signature", asked.signature, "source.signature", spec.source.signature),
        ("--public-key", asked.public_key, "source.signature", spec.source.signature),
    ):
        if given and there is None:
            raise ValueError(
                f"{option} replaces what spec.{field} names, and the manifest does not set it; set it, or remove {option}"
            )


def _key(given: str) -> str:
    """Return the public key's text; people give its file."""
    if not given or "-----BEGIN" in given:
        return given
    try:
        return Path(given).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"--public-key {given!r} is not text; name a PEM file") from error


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """Yield the folder of the artifacts: the given one, which exists, or a temporary one."""
    if given is not None:
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="onnxmodel-") as folder:
        yield Path(folder)


def _report(pipeline: Pipeline, asked: Asked, decided: Plan) -> int:
    status = dict(pipeline.model.status)
    folder = pipeline.volume.folder
    (folder / STATUS_FILE).write_text(yaml.safe_dump(status, sort_keys=False))
    trouble = decided.progress.trouble
    if asked.output == "json":
        print(json.dumps(status, indent=2))
    elif asked.output == "sarif":
        uri = asked.model or pipeline.model.spec.source.uri
        print(sarif.text(pipeline.last or Outcome(Stage.VALIDATE, 0.0), uri))
    else:
        print(f"\n{pipeline.model.name}: {decided.progress.message}")
        if trouble:  # not as status has it, with commands for a cluster
            print(f"{trouble.failure.reason} [{trouble.failure.field or trouble.stage}]")
            print(f"hint: {trouble.failure.hint}")
        if asked.out:
            print(f"artifacts, reports and {STATUS_FILE}: {folder}")
    if not trouble:
        return ExitCode.OK
    if trouble.exit_code in (ExitCode.REFUSED, ExitCode.RETRY):
        return trouble.exit_code
    return ExitCode.REFUSED if decided.progress.state is State.STALLED else INTERNAL
