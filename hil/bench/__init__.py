"""Benches: what is measured, and how well the checks find what is wrong."""
