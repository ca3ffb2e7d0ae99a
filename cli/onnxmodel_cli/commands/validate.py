"""`onnxmodel validate`: by options, or by the rules of a manifest."""

import argparse
from pathlib import Path

from onnxmodel_cli import arguments, values
from onnxmodel_cli.asked import Asked
from onnxmodel_cli.command import Command, outcome_of, requested, show
from onnxmodel_cli.parser import Parser
from onnxmodel_cli.runner import run_pipeline
from onnxmodel_runtime.contract.model import BATCH_UNKNOWN, Tolerance
from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.validate import ValidateRequest


def _arguments(parser: Parser) -> None:
    parser.add_argument("model", help="the .onnx file, or a folder that holds model.onnx")
    parser.add_argument("--opset-min", type=values.integer(1, 100), metavar="N", help="lowest opset to accept (13)")
    parser.add_argument(
        "--dynamic-batch", choices=("Required", "Allowed"), help="Allowed: a fixed batch size is no error (Required)"
    )
    arguments.add_batch(parser)
    parser.add_argument(
        "--mode",
        choices=("Enforce", "Warn"),
        help="Warn: report errors without a refusal, where that is safe (Enforce)",
    )
    parser.add_argument("--golden", default="", metavar="PATH", help="golden data: an .npz file, or a folder")
    parser.add_argument("--golden-tolerance", type=values.number(), metavar="N", help="relative and absolute (0.001)")
    parser.add_argument(
        "--manifest", default="", metavar="YAML", help="OnnxModel manifest: apply its rules, golden data and signature"
    )
    parser.add_argument("--name", default="", help="name of the OnnxModel, if the manifest has several")
    arguments.add_settings(parser)
    parser.add_argument(
        "--public-key", default="", metavar="PEM", help="public key for the manifest's signature: a file, or its text"
    )
    parser.add_argument(
        "--signature",
        default="",
        metavar="FILE",
        help="use this signature instead of the manifest's source.signature.uri",
    )
    parser.add_argument(
        "--timeout",
        type=values.number(),
        metavar="SECONDS",
        help="refuse a model that takes longer (1800); 0: no limit",
    )
    parser.add_argument(
        "--memory",
        type=values.number(),
        metavar="GIB",
        help="memory that the server may use (2, the chart's default); 0: no limit",
    )


def _run(options: argparse.Namespace) -> int:
    if options.manifest:
        options.parser.needs(options.manifest, str(options.settings or ""), streams=True)
        return run_pipeline(_asked(options), options.parser)
    return show(outcome_of(Stage.VALIDATE, requested(options, _request), options), options)


def _asked(options: argparse.Namespace) -> Asked:
    """The run of the manifest that ends after validate. What the manifest says is not said twice."""
    repeated = (
        *(options.opset_min, options.dynamic_batch, options.mode),
        *(options.golden_tolerance, options.memory, options.timeout),
    )
    if options.batch != BATCH_UNKNOWN or any(option is not None for option in repeated):
        flags = "--opset-min, --dynamic-batch, --batch, --mode, --golden-tolerance, --memory and --timeout"
        options.parser.error(f"{flags} are set by the manifest or the platform; remove them, or remove --manifest")
    return Asked(
        Path(options.manifest),
        options.name,
        model=options.model,
        golden=options.golden,
        signature=options.signature,
        public_key=options.public_key,
        settings=options.settings,
        until=Stage.VALIDATE,
        output=options.output,
    )


def _request(options: argparse.Namespace) -> ValidateRequest:
    if options.public_key or options.signature:
        raise ValueError("--public-key and --signature require a --manifest with a signature")
    if options.name:
        raise ValueError("--name names an OnnxModel of a --manifest; add that, or remove it")
    if options.settings:
        raise ValueError("--settings are the platform's for the OnnxModel of a --manifest; add that, or remove it")
    path = options.parser.model(options.model)
    if path.is_symlink():  # such as those of a cache; a stage follows none
        path = path.resolve()
    bound = 0.001 if options.golden_tolerance is None else options.golden_tolerance
    return ValidateRequest(
        str(path.parent),
        13 if options.opset_min is None else options.opset_min,
        dynamic_batch=options.dynamic_batch or "Required",
        mode=options.mode or "Enforce",
        file=path.name,
        golden=Tolerance(bound, bound) if options.golden else None,
        golden_path=options.golden,
        timeout_seconds=1800.0 if options.timeout is None else options.timeout,
        serving_memory=round((2.0 if options.memory is None else options.memory) * 2**30),
        batch=options.batch,
    )


COMMAND = Command(
    Stage.VALIDATE,
    "validate a model",
    _arguments,
    _run,
    places=("golden", "model", "signature"),
    formats=("text", "json", "sarif"),
    aliases=("check",),
)
