"""The serial line: ports, the loop that waits for them, remote ports, logs."""
