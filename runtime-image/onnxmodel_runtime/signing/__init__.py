"""Signatures of models."""
