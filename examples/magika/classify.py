"""Ask a served magika what files are, with tritonclient over HTTP and over gRPC.

    python classify.py HOST CONFIG FILE...

HOST is the model's Service; CONFIG is magika's config.min.json, which has the labels. Prints a line for each file, and
ends with 1 when HTTP and gRPC disagree.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http

MODEL = "magika"


def features(content: bytes, config: dict[str, Any]) -> np.ndarray:
    """magika's input: the first and last bytes without white space around them, padded to a fixed length each."""
    size, padding = config["beg_size"], config["padding_token"]
    beginning = list(content[: config["block_size"]].lstrip()[:size])
    end = list(content[-config["block_size"] :].rstrip()[-size:])
    beginning += [padding] * (size - len(beginning))
    return np.array([beginning + [padding] * (size - len(end)) + end], dtype=np.int32)


def ask(protocol: Any, client: Any, batch: np.ndarray) -> tuple[np.ndarray, float]:
    """The scores of one file, and the milliseconds that the answer took."""
    tensor = protocol.InferInput("bytes", batch.shape, "INT32")
    tensor.set_data_from_numpy(batch)
    start = time.perf_counter()
    answer = client.infer(MODEL, [tensor])
    return answer.as_numpy("target_label")[0], (time.perf_counter() - start) * 1000


def main() -> int:
    host, config_path, *files = sys.argv[1:]
    config = json.loads(Path(config_path).read_text())
    clients = {
        "HTTP": (tritonclient.http, tritonclient.http.InferenceServerClient(f"{host}:8000")),
        "gRPC": (tritonclient.grpc, tritonclient.grpc.InferenceServerClient(f"{host}:8001")),
    }
    print(f"{'FILE':<22}{'TYPE':<14}{'SCORE':>7}{'HTTP':>10}{'gRPC':>10}")
    differ = False
    for path in map(Path, files):
        batch = features(path.read_bytes(), config)
        answers = {name: ask(protocol, client, batch) for name, (protocol, client) in clients.items()}
        scores = answers["HTTP"][0]
        differ |= not np.array_equal(scores, answers["gRPC"][0])
        label = config["target_labels_space"][int(scores.argmax())]
        times = "".join(f"{milliseconds:>7.1f} ms" for _, milliseconds in answers.values())
        print(f"{path.name:<22}{label:<14}{scores.max():>6.1%}{times}")
    for _, client in clients.values():
        client.close()
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
