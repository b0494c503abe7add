"""Batch tagging as a job: files in, files or one stream out."""
