"""File formats, one a module; each has `read` and, where it can be written, `write`."""
