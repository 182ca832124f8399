"""Benchmarks: never part of a timed test."""
