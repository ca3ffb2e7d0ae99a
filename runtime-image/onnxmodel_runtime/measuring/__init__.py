"""Measuring: windows that agree, groups that fit into memory, profiles, and the client of a server."""
