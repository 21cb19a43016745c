"""Runs an exported script and compares its results with what the study measured."""
