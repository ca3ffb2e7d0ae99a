"""Code that `serve` and `repository` share: the options of spec.serving, and the request that they make."""

import argparse
from pathlib import Path

from onnxmodel_cli import arguments, values
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.model import BATCH_NONE
from onnxmodel_runtime.contract.serve import MAX_QUEUE_SIZE, ServeRequest
from onnxmodel_runtime.contract.volume import MODEL_FILE, PROBE_FILE
from onnxmodel_runtime.models.digests import digest

_PREFERRED_SIZES = 16


def add_serving(parser: Parser) -> None:
    """Add the options that `request` reads, without those of the execution providers."""
    arguments.add_batch(parser)
    parser.add_argument("--name", type=values.path_segment, default="", help="name for clients (the file's name)")
    parser.add_argument("--probe", default="", help="probe.npz written by optimize")
    parser.add_argument(
        "--graph-level",
        choices=arguments.GRAPH_LEVELS,
        help="highest graph optimization level (All; None if no inputs can verify it)",
    )
    parser.add_argument("--instances", type=values.integer(1, 64), default=1, help="sessions that share the load (1)")
    parser.add_argument("--max-batch-size", type=values.integer(1, 4096), default=32, help="most rows in a batch (32)")
    parser.add_argument(
        "--max-queue-delay",
        type=values.integer(0, 10_000_000),
        default=0,
        metavar="MICROSECONDS",
        help="how long a request waits to be batched (0: it does not wait)",
    )
    parser.add_argument(
        "--preferred-batch-sizes",
        type=values.batch_sizes,
        default=(),
        metavar="N,M",
        help="numbers of rows at which a batch runs at once (none)",
    )
    parser.add_argument(
        "--default-timeout",
        type=values.integer(0, 600_000_000),
        default=0,
        metavar="MICROSECONDS",
        help="maximum time in the queue (0: no limit)",
    )
    parser.add_argument(
        "--max-queue-size",
        type=values.integer(1, 65536),
        help="maximum number of queued requests (512; with Triton no limit)",
    )


def request(options: argparse.Namespace) -> ServeRequest:
    """Build the request. Raises ValueError where the options break a rule of spec.serving.batching."""
    if wrong := _unfit(options):
        raise ValueError(wrong)
    given, path = Path(options.model).absolute(), options.parser.model(options.model)
    beside = path.parent.parent / PROBE_FILE  # where optimize leaves it
    return ServeRequest(
        name=options.name or given.stem,
        model=str(path),
        sha256=digest(path),
        probe=options.probe or (str(beside) if path.name == MODEL_FILE and beside.is_file() else ""),
        graph_level=options.graph_level or "All",
        providers=arguments.providers(options),
        max_batch_size=options.max_batch_size,
        max_queue_delay_microseconds=options.max_queue_delay,
        preferred_batch_sizes=options.preferred_batch_sizes,
        default_timeout_microseconds=options.default_timeout,
        max_queue_size=options.max_queue_size or MAX_QUEUE_SIZE,
        instances=options.instances,
        batch=options.batch,
    )


def _unfit(options: argparse.Namespace) -> str:
    """Return the rule of spec.serving.batching that the options break, in terms of the options. "" if none."""
    sizes, delay = options.preferred_batch_sizes, options.max_queue_delay
    if len(sizes) > _PREFERRED_SIZES:
        return f"--preferred-batch-sizes takes at most {_PREFERRED_SIZES} sizes"
    if sizes and max(sizes) > options.max_batch_size:
        return f"--preferred-batch-sizes must not exceed --max-batch-size ({options.max_batch_size})"
    if sizes and not delay:
        return "--preferred-batch-sizes needs --max-queue-delay: without it nothing is batched"
    if options.batch == BATCH_NONE and delay:
        return "--batch is None: nothing is batched, so --max-queue-delay must be 0"
    return ""
