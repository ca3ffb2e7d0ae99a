"""What stands between sockets and the protocol: HTTP/1.1 for ASGI applications, HTTP/2 for gRPC, on asyncio."""
