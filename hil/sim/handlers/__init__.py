"""pyserial looks here for `protocol_sim` once `hil.sim.serial_handler.install()` has run."""
