"""Integrations with other tools: the Hugging Face Hub and spaCy."""
