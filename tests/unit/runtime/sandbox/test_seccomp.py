"""The process that parses a model has no network, whatever the model makes it do."""

import json
import socket
import subprocess
import sys

import pytest

ATTEMPTS = """
import ctypes, json, socket, sys, threading
from onnxmodel_runtime.sandbox.seccomp import without_network
if "filtered" in sys.argv:
    assert without_network()
libc = ctypes.CDLL(None, use_errno=True)
found = {}

def attempt(name, action):
    try:
        action()
        found[name] = "possible"
    except OSError as error:
        found[name] = error.errno

def io_uring():
    if libc.syscall(425, 1, ctypes.create_string_buffer(120)) < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")

def everything():
    attempt("tcp", lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2))
    attempt("tcp6", lambda: socket.socket(socket.AF_INET6))
    attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    attempt("packet", lambda: socket.socket(17, socket.SOCK_RAW))
    attempt("vsock", lambda: socket.socket(40))
    attempt("unix", lambda: socket.socket(socket.AF_UNIX))
    attempt("io_uring", io_uring)

thread = threading.Thread(target=everything)
thread.start()
thread.join()
print(json.dumps(found))
"""


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def attempts(port, *words):
    command = [sys.executable, "-c", ATTEMPTS, str(port), *words]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout)


def test_only_local_sockets_are_left(port):
    before, after = attempts(port), attempts(port, "filtered")
    assert before["tcp"] == "possible"  # the attempt itself is right
    assert {name: after[name] for name in after if name != "unix"} == dict.fromkeys(
        ("tcp", "tcp6", "udp", "packet", "vsock", "io_uring"), 1
    )
    assert after["unix"] == "possible"


def test_children_have_none_either(port):
    script = (
        "import subprocess, sys; from onnxmodel_runtime.sandbox.seccomp import without_network; without_network();"
        "sys.exit(subprocess.call([sys.executable, '-c', 'import socket; socket.socket(socket.AF_INET)']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr
