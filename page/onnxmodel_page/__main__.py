"""`python -m onnxmodel_page`: serve the page of all models until it is asked to terminate."""

import argparse
import asyncio
import dataclasses
import logging
import signal
import sys

from aiohttp import web

from onnxmodel_operator.cluster.access import Access, AccessError, find
from onnxmodel_page.credentials import Auth
from onnxmodel_page.feeds import Feeds
from onnxmodel_page.reader import ModelReader, connect
from onnxmodel_page.site import Site

log = logging.getLogger("onnxmodel_page")
_GRACE_SECONDS = 5.0


async def run(access: Access, auth: Auth, port: int, hosts: tuple[str, ...]) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError where the port is taken."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with connect(access) as session:

        def reader(token: str) -> ModelReader:
            return ModelReader(dataclasses.replace(access, token=token) if auth is Auth.USER else access, session)

        site = Site(auth, hosts, Feeds(reader), reader)
        runner = web.AppRunner(site.app(), access_log=None, shutdown_timeout=_GRACE_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, port=port).start()
            log.info("serving on port %d, with the rights of the %s", port, auth)
            await stop.wait()
        finally:
            await runner.cleanup()


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="onnxmodel_page", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="port of the page and of /healthz")
    parser.add_argument(
        "--auth",
        type=Auth,
        choices=[*Auth],
        default=Auth.USER,
        help="rights of every call to the API server: those of the request's token, or the page's own",
    )
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="with --auth ServiceAccount: a name under which browsers reach the page; localhost and addresses always may",
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        # A page for users has no credential at all: there is none that could be used by mistake.
        access = find(anonymous=args.auth is Auth.USER)
        asyncio.run(run(access, args.auth, args.port, tuple(name.lower() for name in args.host)))
    except (AccessError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
