"""`python -m onnxmodel_operator --settings FILE`: run the operator until it is asked to terminate."""

import argparse
import asyncio
import logging
import re
import sys
from pathlib import Path

from onnxmodel_operator.cluster.access import AccessError
from onnxmodel_operator.cluster.lease import LeaseLost
from onnxmodel_operator.cluster.reflector import WentBackError
from onnxmodel_operator.controller.ending import Backstop
from onnxmodel_operator.controller.health import PortError
from onnxmodel_operator.controller.process import run
from onnxmodel_operator.platform import settings as settings_module

log = logging.getLogger("onnxmodel_operator")


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a valid port: 0 to 65535")


def _namespace(text: str) -> str:
    if re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not a valid namespace name")


def _namespaces(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_namespace(name) for name in text.split(",")))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="onnxmodel_operator", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True, help="YAML file with the platform's settings")
    parser.add_argument("--port", type=_port, default=8080, help="port of /healthz, /readyz and /metrics")
    parser.add_argument(
        "--lease-namespace",
        type=_namespace,
        help="namespace of the leader election Lease; without it, run without leader election",
    )
    parser.add_argument(
        "--namespaces",
        type=_namespaces,
        default=(),
        help="comma-separated namespaces to work in, and to ask for alone; without it, all",
    )
    parser.add_argument("--verbose", action="store_true", help="also log messages of libraries")
    args = parser.parse_args()
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for name in ("aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.DEBUG if args.verbose else logging.WARNING)
    try:
        settings = settings_module.load(args.settings)
    except settings_module.SettingsError as error:
        print(f"the settings are invalid: {error}", file=sys.stderr)
        return 2
    code, backstop = 0, Backstop()
    try:
        asyncio.run(run(settings, args.port, args.lease_namespace, backstop, args.namespaces))
    except* (AccessError, PortError) as error:
        print(*error.exceptions, file=sys.stderr)
        code = 2
    except* LeaseLost as lost:
        log.error("%s: this replica exits, and restarts as a standby", *lost.exceptions)
        code = 1
    except* WentBackError as back:
        log.error("%s: this replica exits, and restarts from the current state", back.exceptions[0])
        code = 1
    finally:
        backstop.disarm()
    return code


if __name__ == "__main__":
    sys.exit(main())
