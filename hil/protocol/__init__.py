"""Wire formats shared with the firmware, each defined once. Pure functions; no I/O, no clock."""
