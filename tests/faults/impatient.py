"""The operator that takes a watch for dead after 8 seconds of silence, so that no test waits for 90."""

import sys

import onnxmodel_operator.__main__ as operator
from onnxmodel_operator.cluster import client

if __name__ == "__main__":
    client._SILENT_SECONDS = 8
    sys.exit(operator.main())
