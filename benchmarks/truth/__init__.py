"""Verify that status.benchmark is what a client gets."""
