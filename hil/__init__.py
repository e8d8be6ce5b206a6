"""Hardware-in-the-loop harness for a ring of bare-metal Raspberry Pi Zeros.

A pytest plugin (hil/plugin.py), a library and the `hil` command (hil/cli.py).
"""

__version__ = "0.1.0"
