"""Benchmarks, each beside its peer or its floor in the same run."""
