"""Checks with an FT232H as neighbour: `-m probe`."""
