"""HTTP/1.1 for an ASGI application.

`heads` has the rules of RFC 9112, `parser` makes requests from bytes, `transport` is the connection on asyncio, and `asgi`
passes a request through the application.
"""
