"""Clients outside of the cluster, which ask a model through a Gateway and count what failed."""

import http.client
import json
import threading
import time
from collections import Counter

import numpy as np
import tritonclient.grpc as grpc

from dev.addons.envoy_gateway import ADDRESS, PORT

ROW = {"name": "bytes", "shape": [1, 2048], "datatype": "INT32", "data": [0] * 2048}
BODY = json.dumps({"inputs": [ROW]})


class Clients:
    """One over HTTP and one over gRPC, each with a connection that it keeps for a while, until they are told to end."""

    def __init__(self, name: str, host: str, grpc_host: str) -> None:
        self.name, self.host, self.grpc_host = name, host, grpc_host
        self.answered: Counter[str] = Counter()
        self.failures: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=ask) for ask in (self._http, self._grpc)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _http(self) -> None:
        while not self._over.is_set():
            connection = http.client.HTTPConnection(ADDRESS, PORT, timeout=10)
            for _ in range(20):
                self._count("http", lambda made=connection: self._post(made))
            connection.close()

    def _post(self, connection: http.client.HTTPConnection) -> None:
        headers = {"Host": self.host, "Content-Type": "application/json"}
        connection.request("POST", f"/v2/models/{self.name}/infer", BODY, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} {text[:200]!r}")

    def _grpc(self) -> None:
        tensor = grpc.InferInput("bytes", (1, 2048), "INT32")
        tensor.set_data_from_numpy(np.zeros((1, 2048), dtype=np.int32))
        options = [("grpc.default_authority", self.grpc_host)]
        with grpc.InferenceServerClient(f"{ADDRESS}:{PORT}", channel_args=options) as client:
            while not self._over.is_set():
                self._count("grpc", lambda: client.infer(self.name, [tensor], client_timeout=10))

    def _count(self, kind, ask) -> None:
        try:
            ask()
            self.answered[kind] += 1
        except Exception as error:
            self.failures.append(f"{kind} at {time.strftime('%H:%M:%S')}: {type(error).__name__}: {error}")
        time.sleep(0.02)
