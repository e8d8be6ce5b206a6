"""Divergence coverage: faults that are set on purpose, and whether the checks find and name them.

`faults.py` lists them with the truth about each, `mutations.py` the wrong lines of C among them, `ram.py` where things
stand in a board's memory, `judge.py` sets one and compares what was found with the truth.
Command: `hil bench divergence`.
"""
