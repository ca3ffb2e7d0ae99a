"""`python -m onnxmodel_runtime.server --request JSON`: the server alone, as `onnxmodel serve` starts it."""

import argparse
import sys

from onnxmodel_runtime.contract.codec import ContractError, loads
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.server.main import serve


def main() -> int:
    """Read the request from the command line and serve it."""
    parser = argparse.ArgumentParser(prog="python -m onnxmodel_runtime.server", description=__doc__)
    parser.add_argument("--request", required=True, help="a ServeRequest as JSON")
    arguments = parser.parse_args()
    try:
        request = loads(ServeRequest, arguments.request)
    except ContractError as error:
        parser.error(str(error))
    return serve(request)


if __name__ == "__main__":
    sys.exit(main())
