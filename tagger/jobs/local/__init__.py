"""Batch tagging on this machine."""
