"""Chooses the next candidate and keeps the trials: store, samplers, and the Gaussian process on the speed model."""
