"""Keeps a deployment serving: observes it, decides, steps down its ladder."""
