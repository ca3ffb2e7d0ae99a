"""HTTP/1.1 for an ASGI application: `heads` has the rules of RFC 9112, `transport` the connection on asyncio."""
