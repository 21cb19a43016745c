"""Engines in containers of a Docker Engine."""
