"""Keeps a deployment serving: observes it, decides, and steps down its ladder."""
