"""The golden reference: the transformer in NumPy, bit for bit as the firmware computes it.

Contract: docs/arithmetic.md. Imports neither the harness nor the simulator.
"""
