"""A rig that is open: its boards, power, locks; the simulation behind a simulated one."""
