"""Shared by the hardware tests. The fixtures come from the plugin (hil/plugin.py)."""
