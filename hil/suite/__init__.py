"""The hardware tests: they run on any rig, simulated or real. `pytest -m ring`, `pytest -m loopback`."""
