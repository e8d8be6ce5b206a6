"""The probe: an FT232H as the neighbour of one board, so that one board and one adapter test a link from outside.

pins.py which pin is which wire; adapter.py the FT232H through pyftdi; lines.py the handshake, and how to break it;
link.py frames; patterns.py what is in them; probe.py all of it on a rig. Checks: hil/checks/probe/runs.py. Wiring and
limits: docs/probe.md.
"""
