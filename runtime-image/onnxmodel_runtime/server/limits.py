"""What a request may cost. Everything that a client controls is bounded by one of these."""

import os

MAX_REQUEST = int(os.environ.get("ONNXMODEL_MAX_REQUEST_BYTES", 256 << 20))
"""Bytes of one request, after decompression, over HTTP and over gRPC."""
MAX_JSON = min(64 << 20, MAX_REQUEST)
"""Bytes of the JSON part of a request (Triton's own default): Python objects are ten times as large as their text."""
MAX_JSON_DEPTH = 100
MAX_BODIES = 4 * MAX_REQUEST
"""Bytes of all request bodies that are held at one time."""
MAX_HEAD = 64 << 10
"""Bytes of an HTTP request's line and headers."""
READ_SECONDS = 60.0
"""How long a client may take to send a body."""
KEEP_ALIVE_SECONDS = 620
"""How long a connection may be idle: longer than load balancers keep theirs, so that they, not we, close them."""
OFF_LOOP = 1 << 20
"""From this many bytes on, decoding and encoding leave the event loop: a health probe must not wait for them."""
INLINE_NS = 200_000
"""Executions that typically take less run on the event loop: handing them to another thread would cost more."""
DRAIN_SECONDS = 20.0
"""How long requests may take, and clients may go on asking, after SIGTERM."""
LAME_DUCK_SECONDS = 3.0
"""How long connections are still accepted after SIGTERM, though nobody has one, and how long one may have been idle before
it is closed: a client that asks more often is told with an answer that it should leave."""
QUIET_SECONDS = 1.0
"""How long there must have been no connection after SIGTERM before clients count as gone."""
REQUEST_SECONDS = float(os.environ.get("ONNXMODEL_MAX_REQUEST_SECONDS", 3600))
"""How long a request may take from its acceptance to its answer, and a run of the model; 0: without end."""
WATCH_SECONDS = 1.0
"""How often the watchdog looks."""
STUCK_SECONDS = 60.0
"""How long an interrupted run may go on before the process counts as dead."""
STOP_SECONDS = 2.0
"""How long those who are told UNAVAILABLE at the end have to read that."""
