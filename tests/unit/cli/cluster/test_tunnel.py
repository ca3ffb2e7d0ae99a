"""Requests through a tunnel: what a server may answer."""

import socket
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from onnxmodel_cli.cluster.tunnel import TunnelError, ask

ANSWERS = {"/good": (200, b'{"a": 1}'), "/bad": (400, b'{"error": "no such input"}'), "/page": (502, b"<html>")}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status, content = ANSWERS[self.path]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def connection():
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        made = HTTPConnection("127.0.0.1", server.server_port)
        yield made
        made.close()
        server.shutdown()
        thread.join()


def test_an_answer_is_json(connection):
    assert ask(connection, "/good") == {"a": 1}


@pytest.mark.parametrize(
    ("path", "words"), [("/bad", "answered 400: no such input"), ("/page", "answered 502: <html>")]
)
def test_a_refusal_has_the_servers_words(connection, path, words):
    with pytest.raises(TunnelError, match=words):
        ask(connection, path)


def test_nobody_there_is_said():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(TunnelError, match=r"the server did not answer: .*refused"):
            ask(HTTPConnection("127.0.0.1", bound.getsockname()[1]), "/good")
