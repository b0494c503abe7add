"""The HTTP server: an API for several models, endpoints for annotation tools, and a page to try the models."""
