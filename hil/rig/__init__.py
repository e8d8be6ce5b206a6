"""What is on the desk: rig files, serial ports, the loop that waits for them, logs, power."""
