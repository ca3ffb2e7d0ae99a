"""`python -m onnxmodel_operator.inventory FILE`: write an inventory of all models, for the Job that sweeps the bucket.

It asks the API server and has no key of the bucket; the container that has the keys reads the file.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from onnxmodel_operator.cluster.access import AccessError
from onnxmodel_operator.cluster.client import connect
from onnxmodel_operator.cluster.errors import ApiError
from onnxmodel_operator.cluster.kinds import MODEL


def inventory(models: Iterable[Mapping[str, Any]]) -> str:
    """Return the inventory of these models, as JSON."""
    found = [
        {"uid": model["metadata"]["uid"], "retain": model.get("spec", {}).get("retain") is True} for model in models
    ]
    return json.dumps({"models": found})


async def _listed() -> list[dict[str, Any]]:
    async with connect() as client:
        return [model async for items, _ in client.pages(MODEL) for model in items]


def main() -> int:
    """Write the file whole, or end with an error: what is not in it is removed."""
    parser = argparse.ArgumentParser(prog="onnxmodel_operator.inventory", description=__doc__)
    parser.add_argument("file", type=Path)
    path: Path = parser.parse_args().file
    try:
        text = inventory(asyncio.run(_listed()))
    except (AccessError, ApiError, OSError, TimeoutError) as error:
        print(f"cannot list the models: {error}", file=sys.stderr)
        return 1
    path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
