"""Limits on the cost of a request. One of these bounds everything that a client controls."""

import os

MAX_REQUEST = int(os.environ.get("ONNXMODEL_MAX_REQUEST_BYTES", 256 << 20))
"""Maximum bytes of one request, after decompression, over HTTP and over gRPC."""
MAX_JSON = min(64 << 20, MAX_REQUEST)
"""Bytes of the JSON part of a request (Triton's own default): Python objects are ten times as large as their text."""
MAX_JSON_DEPTH = 100
MAX_BODIES = 4 * MAX_REQUEST
"""Maximum bytes of all request bodies in memory."""
MAX_HEAD = 64 << 10
"""Maximum bytes of an HTTP request's line and headers."""
READ_SECONDS = 60.0
"""Time in seconds within which a client must send a body."""
KEEP_ALIVE_SECONDS = 620
"""Idle time in seconds after which a connection is closed: longer than that of load balancers, so that they close it.
"""
OFF_LOOP = 1 << 20
"""Bytes from which decoding and encoding leave the event loop: a health probe must not wait for them."""
INLINE_NS = 200_000
"""Typical duration in nanoseconds below which a run stays on the event loop: a handover to a thread would cost more."""
DRAIN_SECONDS = 20.0
"""Time in seconds after SIGTERM during which requests may finish, and clients may send more."""
LAME_DUCK_SECONDS = 3.0
"""Time in seconds after SIGTERM during which connections are accepted although there is none.

It is also the idle time after which a connection is closed. The responses to a client that asks more often announce the
close.
"""
QUIET_SECONDS = 1.0
"""Time in seconds without any connection after SIGTERM, after which clients count as gone."""
REQUEST_SECONDS = float(os.environ.get("ONNXMODEL_MAX_REQUEST_SECONDS", 3600))
"""Maximum duration of a request from its acceptance to its response, and of a run of the model. 0: no limit."""
WATCH_SECONDS = 1.0
"""Interval of the watchdog in seconds."""
STUCK_SECONDS = 60.0
"""Time in seconds after which an interrupted run that still goes on makes the process count as dead."""
STOP_SECONDS = 2.0
"""Time in seconds for clients to read the UNAVAILABLE that they get at the end."""
