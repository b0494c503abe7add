"""Batch tagging on a Ray cluster."""
