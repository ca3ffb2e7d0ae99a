"""HTTP/2 (RFC 9113) as a server needs it: `frames` and `connection` do no I/O, `transport` puts them on asyncio.

Nothing here knows gRPC. Everything that a client controls is bounded: the head of a request, the number of streams, the
bytes that wait to be written, and how often a client may cancel requests.
"""
