"""Ports of the loopback address that nobody else gets between the moment they are chosen and the moment they are bound."""

import contextlib
import random
import socket
from collections.abc import Iterator

# Below the range from which kernels give ports to clients and to those who ask for any (32768 at the lowest), and above
# what the tests and the local cluster listen on by number.
_RANGE = range(20_000, 32_000)


@contextlib.contextmanager
def reserved(count: int, host: str = "127.0.0.1") -> Iterator[list[int]]:
    """So many free ports, for a server that cannot be told to take any (port 0) or that must get the same twice.

    They are the caller's until the block ends, among all processes of this machine that ask here: whoever holds a port
    holds an abstract Unix socket of its name, which ends with the process and leaves no file.
    """
    with contextlib.ExitStack() as held:
        found: list[int] = []
        for port in random.sample(_RANGE, len(_RANGE)):
            if len(found) == count:
                break
            with contextlib.suppress(OSError):
                mark = socket.socket(socket.AF_UNIX)
                held.callback(mark.close)
                mark.bind(f"\0onnxmodel-tests-port-{port}")
                with socket.socket() as free:
                    free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    free.bind((host, port))
                found.append(port)
        yield found
