"""Benchmarks: checked for equality before they are timed."""
