"""Checks: plain functions that ask a ring something and return a result. They never import pytest."""
