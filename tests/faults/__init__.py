"""A proxy before a real API server that does to requests and watches what networks and servers do."""
