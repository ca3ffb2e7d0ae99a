"""gRPC on HTTP/2: `rpc` has calls of any method, `wire` their encoding, `service` and `health` the offered methods."""
