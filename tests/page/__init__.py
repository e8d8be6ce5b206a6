"""Tests of the nightly page and of the standard outputs."""
