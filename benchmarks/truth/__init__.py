"""Whether status.benchmark is what a client gets."""
