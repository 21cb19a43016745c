"""Runs an exported script and compares what it gives with what the study measured."""
