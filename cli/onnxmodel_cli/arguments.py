"""Options that several commands share, and the parts of requests that they fill."""

import argparse
import dataclasses
from collections.abc import Iterable
from pathlib import Path

from onnxmodel_cli import values
from onnxmodel_runtime.contract.model import BATCH_NONE, BATCH_UNKNOWN
from onnxmodel_runtime.contract.providers import PROVIDERS, Providers
from onnxmodel_runtime.contract.serve import ServeRequest

GRAPH_LEVELS = ("None", "Basic", "Extended", "All")
_PROTOCOLS = {"http_port": "HTTP", "grpc_port": "gRPC", "metrics_port": "Prometheus metrics"}
PORTS = {field.name: field.default for field in dataclasses.fields(ServeRequest) if field.name.endswith("_port")}


def add_batch(parser: argparse.ArgumentParser) -> None:
    """Add --batch."""
    parser.add_argument(
        "--batch",
        choices=(BATCH_UNKNOWN, BATCH_NONE),
        default=BATCH_UNKNOWN,
        help="None: no first axis is a batch (Auto)",
    )


def add_graph_level(parser: argparse.ArgumentParser) -> None:
    """Add --graph-level."""
    parser.add_argument(
        "--graph-level", choices=GRAPH_LEVELS, default="All", help="highest graph optimization level (All)"
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add --settings, for a command that plans from a manifest."""
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="YAML",
        help="YAML file with the platform's settings (settings in the chart's values)",
    )


def add_ports(parser: argparse.ArgumentParser, names: Iterable[str], least: int = 1) -> None:
    """Add an option for each port of these fields. least: 0 where the server may choose a free port."""
    free = "" if least else "; 0: any free port"
    for name in names:
        option, usual = f"--{name.replace('_', '-')}", PORTS[name]
        convert = values.integer(least, 65535)
        parser.add_argument(
            option, type=convert, default=usual, metavar="PORT", help=f"port of {_PROTOCOLS[name]} ({usual}{free})"
        )


def add_providers(parser: argparse.ArgumentParser) -> None:
    """Add the options that `providers` reads."""
    parser.add_argument(
        "--providers",
        type=values.provider_names,
        default=("CPU",),
        help=f"{','.join(PROVIDERS)} in order of preference (CPU)",
    )
    parser.add_argument(
        "--fallback",
        choices=("Forbid", "Allow"),
        default="Forbid",
        help="Allow: use the next provider if the first is not available (Forbid)",
    )
    parser.add_argument(
        "--threads", type=values.integer(0, 1024), default=1, help="threads of one session (1); 0: all cores"
    )


def providers(options: argparse.Namespace) -> Providers:
    """Return the execution providers that the options name."""
    return Providers(options.providers, options.fallback, threads=options.threads)


def beside(model: Path, *names: str) -> bool:
    """Return whether one of these files or folders lies beside the model."""
    return any((model.parent / name).exists() for name in names)
