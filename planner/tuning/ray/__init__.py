"""Trials launched on the hosts of a Ray cluster."""
