"""Defaults shared by the command line and the plugin. Imports nothing, so that pytest starts fast."""

SEED_DEFAULT = 0x5EED
"""Seed of everything random, unless the user gives one."""
