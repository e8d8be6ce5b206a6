"""The probe's adapter: an FT232H as the neighbour of one board, so that a link can be tested from outside.

pins.py which pin is which wire; adapter.py the FT232H through pyftdi; lines.py the handshake, and how to break it;
patterns.py what is sent. Frames and the probe of an open rig: hil/ring/probe.py. Checks: hil/checks/probe/runs.py.
Wiring and limits: docs/probe.md.
"""
