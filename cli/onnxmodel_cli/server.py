"""The server of a run, in a process of its own as in the Deployment's pod: `python -m onnxmodel_cli.server JSON`."""

import sys

from onnxmodel_cli import INTERRUPTED


def main(argv: list[str]) -> int:
    """Serve the request until SIGTERM, and return the exit code."""
    try:
        from onnxmodel_cli.wording import worded
        from onnxmodel_runtime.contract.codec import loads
        from onnxmodel_runtime.contract.serve import ServeRequest
        from onnxmodel_runtime.server.main import serve

        (request,) = argv
        return serve(loads(ServeRequest, request), worded)
    except KeyboardInterrupt:  # before the server handles it
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
