"""Measure the cost of a front, the part between sockets and the protocol: this project's own next to others."""
