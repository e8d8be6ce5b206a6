"""Checks of links: `-m link`."""
