"""Workloads and measures for benchmarks; they do not depend on the package."""
