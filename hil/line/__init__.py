"""Serial lines: ports here and on other computers, their names, the loop that waits for them, logs."""
