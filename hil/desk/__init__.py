"""A rig that is open: ports, power, locks, the simulator behind `sim`."""
