"""Measurements of sessiondir beside SQLite: ``python -m benchmarks`` from the project root."""
